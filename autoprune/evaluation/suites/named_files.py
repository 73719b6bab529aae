"""Digests of the files and models that settings of a suite name."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from autoprune.digest import digest_file
from autoprune.errors import AutopruneError
from autoprune.models.reference import resolve

WEIGHT_SUFFIXES = frozenset({".safetensors", ".gguf", ".bin", ".pt", ".pth"})


def digests_of_files(settings: Mapping[str, Any], known: Collection[str] = ()) -> list[str]:
    """SHA-256 of what settings of a suite name, since its content may change.

    Files count, and in a folder all but weights, of which ``autoprune.json`` or ``verifier.json``
    holds the digest. A dense model counts with its weights.

    Args:
        settings: Values, texts or lists of texts.
        known: Texts that do not count.
    """
    files: list[Path] = []
    for value in settings.values():
        for name in value if isinstance(value, list | tuple) else [value]:
            if isinstance(name, str) and name and name not in known:
                path = Path(name.partition("#")[0]).expanduser()
                files += sorted(path.rglob("*")) if path.is_dir() else [path]
    read = [digest_file(f) for f in files if f.is_file() and f.suffix not in WEIGHT_SUFFIXES]
    dense = settings.get("dense")
    if dense and dense not in known:
        # Without the model, the suite still measures everything else, and says what is missing.
        with suppress(AutopruneError):
            read.append(resolve(dense).digest)
    return read
