"""Check that a folder is free for a model made from another one."""

from collections.abc import Iterable
from pathlib import Path

from autoprune.models.reference import read_from
from autoprune.storage import is_file
from autoprune.targets import OPTION, check_folder


def check_target(
    out: str,
    model: str,
    texts: Iterable[str] = (),
    *,
    overwrite: bool = False,
    allow: str = OPTION,
) -> None:
    """Refuse a target folder that is not free, before anything is loaded."""
    texts = tuple(texts)
    # A column of rows is named as FILE#COLUMN, a program as program:FILE.
    named = [
        part
        for text in (one.removeprefix("program:") for one in texts)
        for part in (text, text.rpartition("#")[0])
        if "\0" not in part and 0 < len(part) < 4096
    ]
    files = (Path(part).expanduser() for part in named)
    # A text that another model writes is `self-generated:model=REF`.
    pairs = (one.partition("=") for text in texts for one in text.partition(":")[2].split(","))
    writers = [value.strip() for key, _, value in pairs if key.strip() == "model" and value]
    sources = [*map(read_from, [model, *writers]), *filter(is_file, files)]
    check_folder(Path(out), sources=sources, overwrite=overwrite, allow=allow)
