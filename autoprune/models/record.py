"""What made a saved model, under the names of its record ``autoprune.json``."""

from pathlib import Path
from typing import Any

from autoprune.digest import verify_file
from autoprune.errors import AutopruneError, UsageError
from autoprune.numerics import computed_by, hardware
from autoprune.storage import read_object

# Next to the weights of a model that we saved: how it was made, and digests of its files.
RECORD_FILE = "autoprune.json"
# Figures of the dense and a smaller model, measured in turns.
DENSE_COMPARISON = "beside_dense"
# A scheme removes parameters, or reaches a share of something else; a recipe leaves zeros.
_SHARES = ("parameters_target", "target", "share_removed")


def source_record(ref: str, digest: str, seed: int) -> dict[str, Any]:
    """The dense model, the seed, and what computes."""
    by = {"computed_by": computed_by(), "hardware": hardware()}
    return {"model": ref, "model_digest": digest, "seed": seed, **by}


def text_record(corpus: str, digest: str, windows: int, seqlen: int) -> dict[str, Any]:
    """Describe the calibration text."""
    size = {"samples": windows, "seqlen": seqlen}
    return {"corpus": corpus, "corpus_digest": digest, **size, "spread": True}


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of a saved model; empty without one."""
    place = folder / RECORD_FILE
    return read_object(place) if place.is_file() else {}


def made_record(folder: str) -> dict[str, Any]:
    """Read how a saved model was made: from which model, by what, with which files."""
    record = read_record(Path(folder).expanduser())
    share = next((key for key in _SHARES if record.get(key) is not None), None)
    if not record.get("checkpoint", {}).get("files") or share is None or "model" not in record:
        raise UsageError(
            f"{folder} has no {RECORD_FILE} that says which model it was made from, how, and what "
            "its files are; name a folder that `autoprune prune --out` wrote"
        )
    return record


def verify_files(folder: Path) -> None:
    """Check a saved model's files against the digests in its record; without a record, nothing."""
    for name, digest in read_record(folder).get("checkpoint", {}).get("files", {}).items():
        if not (folder / name).is_file():
            raise AutopruneError(f"{name} is missing")
        verify_file(folder / name, digest)


def base_model(ref: str) -> str:
    """The model that a saved folder was made from, by its records; any other model itself.

    Folders of different models have the same name: every search saves a ``winner``.
    """
    known: set[str] = set()
    while ref not in known:
        known.add(ref)
        try:
            ref = str(read_record(Path(ref).expanduser())["model"])
        except (OSError, KeyError, AutopruneError):
            break
    return ref
