"""Base class of the parts of a run's record: frozen dataclasses that serialise to JSON."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

from pydantic import ConfigDict


class Part:
    """Base class of the parts."""

    # Read by pydantic: an unknown field is an error.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form; infinities and NaN become strings."""
        value: dict[str, Any] = _to_json(self)
        return value


def _to_json(value: Any) -> Any:
    """JSON form that any strict parser reads and any file can hold."""
    match value:
        case Part():
            return {f.name: _to_json(getattr(value, f.name)) for f in fields(value)}  # type: ignore[arg-type]
        case Mapping():
            return {_storable(str(key)): _to_json(item) for key, item in value.items()}
        case list() | tuple():
            return [_to_json(item) for item in value]
        case str():
            return _storable(value)
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case float():
            return float(value)
        case bool() | int() | None:
            return value
    return _storable(str(value))


def _storable(text: str) -> str:
    """Make text writable: model output may hold lone surrogates, which UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode()
