"""Named choices with parameters on one line of text: ``sdsa:strength=0.2,level=projection``."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

from autoprune.errors import UsageError
from autoprune.spelling import split_outside

# Larger whole numbers are not plausible counts, and some are too large for a float.
LARGEST_WHOLE = 10**9


@dataclass(frozen=True)
class TextForm:
    """Base class of allocators and repairs: a frozen dataclass whose fields are its parameters.

    Every field has a default. ``KIND`` is the noun of the family, ``NAME`` the registry name,
    ``SOURCE`` the paper, ``NEEDS`` the statistics that must have been collected.
    """

    KIND: ClassVar[str] = "choice"
    NAME: ClassVar[str] = ""
    SOURCE: ClassVar[str] = ""
    NEEDS: ClassVar[frozenset[str]] = frozenset()

    @property
    def needs(self) -> frozenset[str]:
        """Statistics that must have been collected."""
        return self.NEEDS

    @property
    def params(self) -> dict[str, Any]:
        """Parameters and their values."""
        return {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Parameters that the text may set, with their defaults."""
        entries = dataclasses.fields(cls)
        return {e.name: e.default for e in entries if e.default is not dataclasses.MISSING}

    @classmethod
    def allowed(cls) -> dict[str, list[str]]:
        """Allowed values of each parameter that takes one of a fixed set."""
        found = {name: _choices(hint) for name, hint in parameters(cls).items()}
        return {name: list(values) for name, values in found.items() if values}

    @classmethod
    def summary(cls) -> str:
        """First line of the class docstring."""
        return (cls.__doc__ or "").strip().partition("\n")[0]

    @property
    def text(self) -> str:
        """Canonical text, omitting parameters at their default; :meth:`from_text` reads it."""
        changed = [
            f"{entry.name}={_show(getattr(self, entry.name))}"
            for entry in dataclasses.fields(self)
            if getattr(self, entry.name) != entry.default
        ]
        return f"{self.NAME}:{','.join(changed)}" if changed else self.NAME

    @classmethod
    def from_text(cls, rest: str) -> Self:
        """Build from the text after ``name:``; empty for defaults."""
        return cls(**read_settings(f"{cls.KIND} {cls.NAME!r}", rest, parameters(cls)))

    def _require(self, key: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise UsageError(
                f"{self.KIND} {self.NAME!r}: {key}={getattr(self, key)} is not possible; "
                f"{key} must be {allowed}"
            )


# A search reads thousands of repairs, and resolving annotations takes longer than all the rest.
_hints = cache(typing.get_type_hints)


def parameters(kind: Any) -> dict[str, Any]:
    """Types of a dataclass's constructor arguments, by name."""
    hints = _hints(kind)
    return {entry.name: hints[entry.name] for entry in dataclasses.fields(kind) if entry.init}


def read_settings(title: str, text: str, allowed: Mapping[str, Any]) -> dict[str, Any]:
    """Parse ``key=value,key=value``; a tuple is ``a+b``, a value with commas is in brackets."""
    values: dict[str, Any] = {}
    for item in filter(None, split_outside(text, ",")):
        key, equals, value = (part.strip() for part in item.partition("="))
        if key not in allowed:
            listing = ", ".join(allowed) if allowed else "none"
            raise UsageError(f"{title} has no parameter {key!r}; allowed: {listing}")
        if not equals or key in values:
            raise UsageError(
                f"{title}: {item!r} is not understood; write {key}=VALUE, each parameter once"
            )
        values[key] = _parse(title, key, value, allowed[key])
    return values


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _choices(hint: Any) -> tuple[str, ...]:
    if hint is bool:
        return ("true", "false")
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


def _parse(title: str, key: str, text: str, hint: Any) -> Any:
    if typing.get_origin(hint) is typing.Literal:
        if text in _choices(hint):
            return text
        wanted = " or ".join(_choices(hint))
    elif typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        return tuple(_parse(title, key, part, kind) for part in text.split("+"))
    elif text == "none" and hint in (str | None, int | None):
        return None
    elif hint in (str, str | None):
        return text
    elif hint is bool:
        if text.lower() in ("true", "false", "1", "0"):
            return text.lower() in ("true", "1")
        wanted = " or ".join(_choices(hint))
    else:
        # In unions with a number, None means "not given".
        number = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
        try:
            value = number(text)
        except ValueError:
            value = None
        whole = number is int
        if value is not None and (abs(value) <= LARGEST_WHOLE if whole else math.isfinite(value)):
            return value
        wanted = f"a whole number up to {LARGEST_WHOLE}" if whole else "a number"
    raise UsageError(f"{title}: {key}={text[:40]!r} is not understood; use {wanted}")
