"""Digests of the files and models that settings of a suite name."""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from autoprune.digest import digest_file
from autoprune.errors import AutopruneError
from autoprune.models.reference import resolve
from autoprune.storage import is_file

TASK_SUFFIXES = frozenset({".yaml", ".yml"})
# Read as words, since tags such as ``!function`` are lm-eval's own.
_WORD = re.compile(r"[^\s'\"\[\]{},]{1,512}")
WEIGHT_SUFFIXES = frozenset({".safetensors", ".gguf", ".bin", ".pt", ".pth"})


def digests_of_files(settings: Mapping[str, Any], known: Collection[str] = ()) -> list[str]:
    """SHA-256 of what settings of a suite name, since its content may change.

    Files count, and in a folder all but weights, of which ``autoprune.json`` or ``verifier.json``
    holds the digest; so do files that a task file names, such as its data. A dense model counts
    with its weights.
    """
    files: list[Path] = []
    for value in settings.values():
        for name in value if isinstance(value, list | tuple) else [value]:
            if isinstance(name, str) and name and name not in known:
                path = Path(name.partition("#")[0]).expanduser()
                files += sorted(path.rglob("*")) if path.is_dir() else [path]
    files = [file.resolve() for file in files if _counts(file)]
    for file in files:
        # Grows while it is walked: a task file may include another one.
        files += sorted(_named_in(file) - set(files)) if file.suffix in TASK_SUFFIXES else []
    read = [digest_file(file) for file in files]
    dense = settings.get("dense")
    if dense and dense not in known:
        # Without the model, the suite still measures everything else, and says what is missing.
        with suppress(AutopruneError):
            read.append(resolve(dense).digest)
    return read


def _named_in(task: Path) -> set[Path]:
    """Files that a task file names, from the working directory or from its own folder."""
    words = set(_WORD.findall(task.read_text(encoding="utf-8", errors="replace")))
    places = {base / word for word in words for base in (Path(), task.parent)}
    return {place.resolve() for place in places if _counts(place)}


def _counts(path: Path) -> bool:
    return path.suffix not in WEIGHT_SUFFIXES and is_file(path)
