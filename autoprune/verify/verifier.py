"""The interface of step verifiers, their registry, and how one is opened."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from autoprune.errors import DamagedFileError, UsageError
from autoprune.models.loading import LoadedModel
from autoprune.progress import Report, silent
from autoprune.registry import Registry
from autoprune.verify.chains import Chain

# File in a trained verifier's folder, next to its weights.
RECORD = "verifier.json"


class StepVerifier(ABC):
    """Scores how likely each step of a solution is to be right."""

    NAME: ClassVar[str] = ""
    # Whether it is trained first and opened by its folder, or opens by its name alone.
    TRAINED: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def open(cls, reader: LoadedModel, folder: Path | None) -> "StepVerifier":
        """The verifier with its reader.

        Args:
            reader: The model that reads; it is not changed.
            folder: Folder of a trained verifier; None for others.

        Raises:
            UsageError: If it was trained for another reader.
            DamagedFileError: If its files differ from what was recorded.
        """

    @abstractmethod
    def score_chains(self, chains: Sequence[Chain], report: Report = silent) -> list[list[float]]:
        """Scores of the steps of each chain, from 0 (wrong) to 1 (right).

        A step's score depends only on the question, the steps before it and the step itself.
        """

    def score(self, prompt: str, steps: Sequence[str]) -> list[float]:
        """Scores of the steps of one solution, from 0 (wrong) to 1 (right).

        Args:
            prompt: The question, or everything before the steps.
            steps: One line each.

        Returns:
            One score for each step.

        Raises:
            UsageError: If solution and prompt are longer than the reader's positions.
        """
        return self.score_chains([Chain(prompt, tuple(steps))])[0]

    def describe(self) -> dict[str, Any]:
        """What a figure made with it must record: kind and, if it was trained, its digest."""
        return {"verifier": self.NAME}


VERIFIERS: Registry[type[StepVerifier]] = Registry("verifier", "autoprune.verifiers")


def open_verifier(text: str, reader: LoadedModel) -> StepVerifier:
    """A verifier by its name, or a trained one by its folder.

    Args:
        text: ``programmatic``, ``surprisal``, or the folder of a trained one.
        reader: The model that reads.

    Raises:
        UnknownNameError: If it is neither.
        UsageError: If it has to be trained first, or was trained for another reader.
        DamagedFileError: If the folder's files differ from what was recorded.
    """
    kind, folder = find_verifier(text)
    if kind.TRAINED and folder is None:
        raise UsageError(
            f"the verifier {text!r} is trained first: `train_verifier(model).save(folder)`; then "
            "name that folder"
        )
    return kind.open(reader, folder)


def find_verifier(text: str) -> tuple[type[StepVerifier], Path | None]:
    """Kind and folder of a verifier, without a model; see :func:`open_verifier`."""
    folder = Path(text).expanduser()
    if (folder / RECORD).is_file():
        return VERIFIERS.get(str(read_verifier(folder)["kind"])), folder
    if text not in VERIFIERS and (folder.is_dir() or len(folder.parts) != 1):
        wrong = f"holds no {RECORD}" if folder.is_dir() else "does not exist"
        raise UsageError(
            f"the folder {text} {wrong}; name that of a trained verifier, or one of "
            f"{', '.join(name for name, _ in VERIFIERS.items())}"
        )
    return VERIFIERS.get(text), None


def read_verifier(folder: Path) -> dict[str, Any]:
    """The record of a trained verifier.

    Raises:
        DamagedFileError: If it cannot be read.
    """
    path = folder / RECORD
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"{path} cannot be read ({error}); train it again") from error
    if not isinstance(found, dict) or "kind" not in found:
        raise DamagedFileError(f"{path} names no kind of verifier; train it again")
    return found
