"""Whether a folder is free for the model that is made of another one."""

from collections.abc import Iterable
from pathlib import Path

from autoprune.models.reference import read_from
from autoprune.targets import check_folder


def check_target(
    out: str, model: str, texts: Iterable[str] = (), *, overwrite: bool = False
) -> None:
    """Refuse a target folder that is not free, before anything is loaded.

    Args:
        out: Folder for the pruned model.
        model: Reference of the model that is pruned.
        texts: What else is read: a metric's file, corpora; names that are no files count not.
        overwrite: A saved model that lies there may be replaced.

    Raises:
        UsageError: See :func:`autoprune.targets.check_folder`.
    """
    files = (Path(text).expanduser() for text in texts if "\0" not in text and len(text) < 4096)
    sources = [read_from(model), *(path for path in files if _is_file(path))]
    check_folder(Path(out), sources=sources, overwrite=overwrite)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # A formula that is longer than a name may be.
        return False
