"""Finished suites of an interrupted evaluation: the same command does not measure them again.

They stay in the evaluation's folder until it is complete and its record holds them.
"""

import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from autoprune import __version__
from autoprune.digest import digest_file, digest_json
from autoprune.errors import AutopruneError, DamagedFileError
from autoprune.models.reference import resolve
from autoprune.storage import write_json
from tasks.run_files import read_object
from tasks.state import State

WEIGHT_SUFFIXES = frozenset({".safetensors", ".gguf", ".bin", ".pt", ".pth"})


def part_file(state: State, run: str, what: list[Any]) -> Path:
    """Path under which one suite of an evaluation is kept.

    Args:
        state: The state folder.
        run: Name of the evaluation.
        what: Everything that determines the suite's figures, plain JSON.
    """
    return _folder(state, run) / f"{digest_json([__version__, *what])[:32]}.json"


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


def read_part(file: Path) -> dict[str, Any] | None:
    """A finished suite; None if there is none that can be read."""
    try:
        return read_object(file) if file.is_file() else None
    except DamagedFileError:
        return None


def write_part(file: Path, part: dict[str, Any]) -> None:
    """Keep a finished suite."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, part)


def forget_parts(state: State, run: str) -> None:
    """Delete the parts of a complete evaluation, so that the next one measures again."""
    shutil.rmtree(_folder(state, run), ignore_errors=True)


def _folder(state: State, run: str) -> Path:
    return state.root / "evaluations" / run / "parts"
