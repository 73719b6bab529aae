"""The record of a folder that ``autoprune prune`` wrote, as the registry needs it."""

from pathlib import Path
from typing import Any

from autoprune.errors import UsageError
from autoprune.models.reference import RECORD_FILE
from tasks.run_files import read_object

# A scheme removes parameters, or reaches a share of something else; a recipe leaves zeros.
_SHARES = ("parameters_target", "target", "share_removed")


def made_record(folder: str) -> dict[str, Any]:
    """Read how a saved model was made: from which model, by what, with which files.

    Args:
        folder: A saved model.

    Raises:
        UsageError: If the folder holds no such record.
    """
    place = Path(folder).expanduser() / RECORD_FILE
    record = read_object(place) if place.is_file() else {}
    share = next((key for key in _SHARES if record.get(key) is not None), None)
    if not record.get("checkpoint", {}).get("files") or share is None or "model" not in record:
        raise UsageError(
            f"{folder} has no {RECORD_FILE} that says which model it was made from, how, and what "
            "its files are; name a folder that `autoprune prune --out` wrote"
        )
    return record
