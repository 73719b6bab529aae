"""Reads the settings of a command from a YAML file."""

from pathlib import Path
from typing import Any

from autoprune.errors import UsageError, reason_of

YAML_SUFFIXES = (".yaml", ".yml")


def read_settings(path: Path, what: str, example: str) -> dict[str, Any]:
    """Return the mapping in a file; its parameter model checks the values later."""
    import yaml

    if not path.is_file():
        raise UsageError(f"the {what} file {str(path)!r} does not exist; check the path")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is not YAML ({reason_of(error, None)}); correct that place and run the "
            "command again"
        ) from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no mapping; write {example}")
    return {str(key): value for key, value in values.items()}


def read_search(path: Path) -> dict[str, Any]:
    """Return the settings of a search from a YAML file; see :func:`read_settings`."""
    example = "`model:`, `sparsity:` and more (`autoprune search --schema`)"
    return read_settings(path, "settings", example)
