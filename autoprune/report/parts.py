"""What every part of a run's record is: a frozen dataclass that JSON holds."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

from pydantic import ConfigDict


class Part:
    """Base of the parts."""

    # Read by pydantic: a field it does not know is an error.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form; infinities and NaN become strings."""
        value: dict[str, Any] = _to_json(self)
        return value


def _to_json(value: Any) -> Any:
    """JSON form that any strict parser reads and any file holds."""
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
    """Model output may hold halves of surrogate pairs, which no UTF-8 file can."""
    return text.encode("utf-8", "replace").decode()
