"""The contract of a verifier of steps, the registry of all, and how one is opened."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from autoprune.errors import DamagedFileError, UsageError
from autoprune.models.loading import LoadedModel
from autoprune.progress import Report, silent
from autoprune.registry import Registry
from autoprune.verify.chains import Chain

# What a trained verifier's folder holds beside its weights.
RECORD = "verifier.json"
Choice = Literal["lowest", "product"]


class StepVerifier(ABC):
    """Says of each step of a solution how surely it is right."""

    NAME: ClassVar[str] = ""
    # Whether it opens by its name alone, or is trained first and opened by its folder.
    TRAINED: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def open(cls, reader: LoadedModel, folder: Path | None) -> "StepVerifier":
        """The verifier with its reader.

        Args:
            reader: The model that reads; it stays as it is.
            folder: Where a trained one lies; None for others.

        Raises:
            UsageError: If it was trained for another reader.
            DamagedFileError: If its files are not what was recorded.
        """

    @abstractmethod
    def score_chains(self, chains: Sequence[Chain], report: Report = silent) -> list[list[float]]:
        """Scores of the steps of each chain, from 0 (wrong) to 1 (right).

        A step's score depends on the question, the steps before it and itself alone.
        """

    def score(self, prompt: str, steps: Sequence[str]) -> list[float]:
        """Scores of the steps of one solution, from 0 (wrong) to 1 (right).

        Args:
            prompt: The question, or all that stands before the steps.
            steps: One line each.

        Returns:
            One score for each step.

        Raises:
            UsageError: If solution and prompt are longer than the reader's positions.
        """
        return self.score_chains([Chain(prompt, tuple(steps))])[0]

    def describe(self) -> dict[str, Any]:
        """What a figure made with it must name: kind and, where it was trained, its digest."""
        return {"verifier": self.NAME}


VERIFIERS: Registry[type[StepVerifier]] = Registry("verifier", "autoprune.verifiers")


def open_verifier(text: str, reader: LoadedModel) -> StepVerifier:
    """A verifier by its name, or a trained one by its folder.

    Args:
        text: ``programmatic``, ``surprisal``, or the folder that ``autoprune verify train`` wrote.
        reader: The model that reads.

    Raises:
        UnknownNameError: If it is neither.
        UsageError: If it has to be trained first, or was trained for another reader.
        DamagedFileError: If the folder's files are not what was recorded.
    """
    kind, folder = find_verifier(text)
    if kind.TRAINED and folder is None:
        raise UsageError(
            f"the verifier {text!r} is trained first: `autoprune verify train MODEL --out DIR`; "
            "then name that folder"
        )
    return kind.open(reader, folder)


def find_verifier(text: str) -> tuple[type[StepVerifier], Path | None]:
    """Kind and folder of a verifier, without a model; see :func:`open_verifier`."""
    folder = Path(text).expanduser()
    if not (folder / RECORD).is_file():
        if folder.is_dir() and text not in VERIFIERS:
            raise UsageError(
                f"the folder {text} holds no {RECORD}; name one that `autoprune verify train` wrote"
            )
        return VERIFIERS.get(text), None
    kind = read_verifier(folder)["kind"]
    return VERIFIERS.get(str(kind)), folder


def read_verifier(folder: Path) -> dict[str, Any]:
    """The record of a trained verifier.

    Raises:
        DamagedFileError: If it cannot be read.
    """
    import json

    path = folder / RECORD
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"{path} cannot be read ({error}); train it again") from error
    if not isinstance(found, dict) or "kind" not in found:
        raise DamagedFileError(f"{path} names no kind of verifier; train it again")
    return found


def chain_score(scores: Sequence[float], choice: Choice = "lowest") -> float:
    """One score for a whole solution: its lowest step, or the product of all; 0 without a step."""
    if not scores:
        return 0.0
    if choice == "lowest":
        return min(scores)
    product = 1.0
    for score in scores:
        product *= score
    return product
