"""Verifier ``uhead``: a small trained head over a frozen reader's view of a step's tokens."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from autoprune.digest import digest_bytes, digest_json, verify_file
from autoprune.errors import DamagedFileError, UsageError
from autoprune.models.loading import LoadedModel
from autoprune.progress import Report, silent
from autoprune.storage import atomic_folder, write_json
from autoprune.targets import check_folder
from autoprune.verify.chains import Chain
from autoprune.verify.head import UncertaintyHead, padded
from autoprune.verify.reading import read_steps, reader_digest
from autoprune.verify.verifier import RECORD, VERIFIERS, StepVerifier, read_verifier

WEIGHTS = "uhead.safetensors"
# Increased when features or head change their form.
FORMAT = 1
_BATCH = 64


@VERIFIERS.register("uhead")
class UHead(StepVerifier):
    """Probability that a step is right, from a head trained on labelled steps.

    Source: UHeads, arXiv 2511.06209.

    Args:
        reader: The model whose hidden states and probabilities the head reads.
        head: The head.
        record: What it was trained on, and how.
    """

    NAME = "uhead"
    TRAINED = True

    def __init__(
        self, reader: LoadedModel, head: UncertaintyHead, record: Mapping[str, Any]
    ) -> None:
        self._reader = reader
        self.head = head.eval()
        self._weights = save(head.state_dict())
        self.record = {**record, "weights": digest_bytes(self._weights)}

    def score_chains(self, chains: Sequence[Chain], report: Report = silent) -> list[list[float]]:
        """See :class:`StepVerifier`."""
        read = read_steps(self._reader, chains, report=report)
        scores = iter(head_scores(self.head, [step.features for one in read for step in one]))
        return [[next(scores) for _ in steps] for steps in read]

    def describe(self) -> dict[str, Any]:
        """See :class:`StepVerifier`."""
        return {"verifier": self.NAME, "verifier_digest": digest_json(self.record)}

    def save(self, folder: Path) -> None:
        """Write weights and record, both or neither.

        Args:
            folder: Target folder, replaced as a whole: absent, empty, or with a verifier.

        Raises:
            UsageError: If the folder holds anything else.
            AutopruneError: If the disk is full or the folder is not writable.
        """
        check_folder(folder, overwrite=True, marker=RECORD, what="verifier")
        with atomic_folder(folder) as place:
            (place / WEIGHTS).write_bytes(self._weights)
            write_json(place / RECORD, self.record)

    @classmethod
    def open(cls, reader: LoadedModel, folder: Path | None) -> "UHead":
        """See :class:`StepVerifier`."""
        assert folder is not None
        record = read_verifier(folder)
        if record.get("format") != FORMAT:
            raise UsageError(
                f"{folder} has the form {record.get('format')}, and this version reads {FORMAT}; "
                "train it again"
            )
        needed = {"reader", "reader_digest", "dtype", "features", "weights"}
        if missing := needed - record.keys():
            raise DamagedFileError(
                f"{folder / RECORD} lacks {', '.join(sorted(missing))}; train it again"
            )
        found = reader_digest(reader)
        if record["reader_digest"] != found:
            raise UsageError(
                f"{folder} was trained for the reader {record['reader']} "
                f"({record['reader_digest'][:12]}…, {record['dtype']}), and {reader.source.ref} "
                f"has other weights ({found[:12]}…, {reader.model.dtype}); a head reads the "
                "model that it was trained with: name that one, or train one for this"
            )
        try:
            verify_file(folder / WEIGHTS, record["weights"])
            head = UncertaintyHead(int(record["features"]))
            head.load_state_dict(load_file(folder / WEIGHTS))
        except (SafetensorError, RuntimeError, OSError, TypeError, ValueError) as error:
            raise DamagedFileError(
                f"{folder / WEIGHTS} holds no head as {RECORD} describes it ({error}); train it "
                "again"
            ) from error
        return cls(reader, head, record)


@torch.inference_mode()
def head_scores(head: UncertaintyHead, steps: Sequence[Tensor]) -> list[float]:
    """Probability that each step is right.

    Args:
        head: In eval mode.
        steps: Features of each step's tokens, [tokens, features].
    """
    found: list[float] = []
    for start in range(0, len(steps), _BATCH):
        found += head(*padded(list(steps[start : start + _BATCH]))).sigmoid().tolist()
    return found
