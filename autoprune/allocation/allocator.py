"""Allocators: how much of each layer goes. Registry, text form, and the step onto the budget."""

import dataclasses
import types
import typing
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from autoprune.allocation.context import AllocationContext, numels
from autoprune.allocation.projection import project
from autoprune.errors import UsageError
from autoprune.registry import Registry


@dataclass(frozen=True)
class Allocator(ABC):
    """Turns a model and a target share into one raw rate per prunable layer.

    A subclass is a frozen dataclass whose fields are its parameters, with defaults. Rates are raw:
    they need not meet the budget or the bounds, :func:`allocate` projects them.
    """

    NAME: ClassVar[str] = ""
    SOURCE: ClassVar[str] = ""
    NEEDS: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def rates(self, ctx: AllocationContext, target: float) -> dict[str, float]:
        """Raw share to prune per unit name.

        Args:
            ctx: The model.
            target: Share of all prunable weights to zero.
        """

    @property
    def needs(self) -> frozenset[str]:
        """Statistics that must have been collected."""
        return self.NEEDS

    @property
    def params(self) -> dict[str, Any]:
        """Parameters and their values."""
        return {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}

    @property
    def text(self) -> str:
        """Canonical text without parameters at their default, for :func:`build_allocator`."""
        changed = [
            f"{entry.name}={_show(getattr(self, entry.name))}"
            for entry in dataclasses.fields(self)
            if getattr(self, entry.name) != entry.default
        ]
        return f"{self.NAME}:{','.join(changed)}" if changed else self.NAME

    @classmethod
    def from_text(cls, rest: str) -> Self:
        """Build from what follows ``name:``; empty for defaults.

        Raises:
            UsageError: If a parameter is unknown or its value makes no sense.
        """
        hints = typing.get_type_hints(cls)
        allowed = {entry.name: hints[entry.name] for entry in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for item in filter(None, (part.strip() for part in rest.split(","))):
            key, equals, text = (part.strip() for part in item.partition("="))
            if key not in allowed:
                listing = ", ".join(allowed) if allowed else "none"
                raise UsageError(
                    f"allocator {cls.NAME!r} has no parameter {key!r}; allowed: {listing}"
                )
            if not equals or key in values:
                raise UsageError(
                    f"allocator {cls.NAME!r}: {item!r} is not understood; "
                    f"write {key}=VALUE, each parameter once"
                )
            values[key] = _parse(cls.NAME, key, text, allowed[key])
        return cls(**values)

    def _require(self, key: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise UsageError(
                f"allocator {self.NAME!r}: {key}={getattr(self, key)} is not possible; "
                f"{key} must be {allowed}"
            )


ALLOCATORS: Registry[type[Allocator]] = Registry("allocator", "autoprune.allocators")


def build_allocator(text: str) -> Allocator:
    """Build an allocator from ``NAME``, ``NAME:key=value,...`` or ``CONTROL:ALLOCATOR``.

    Examples: ``sdsa:strength=0.2,level=projection``, ``reversed:sdsa:strength=0.2``.

    Raises:
        UnknownNameError: If no allocator has the name; suggests the nearest.
        UsageError: If a parameter is unknown or out of range.
    """
    name, _, rest = text.strip().partition(":")
    return ALLOCATORS.get(name).from_text(rest)


def allocate(allocator: Allocator, ctx: AllocationContext, target: float) -> dict[str, float]:
    """Rates of an allocator, projected onto the budget: weighted mean ``target`` exactly."""
    return project(allocator.rates(ctx, target), numels(ctx), target)


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _parse(name: str, key: str, text: str, hint: Any) -> Any:
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        if text in choices:
            return text
        wanted = " or ".join(choices)
    elif hint is bool:
        if text.lower() in ("true", "false", "1", "0"):
            return text.lower() in ("true", "1")
        wanted = "true or false"
    else:
        # The only union in use is `float | None`, where None means "not given".
        number = float if isinstance(hint, types.UnionType) else hint
        try:
            value = number(text)
        except ValueError:
            value = None
        if value is not None and abs(value) < float("inf"):
            return value
        wanted = "a whole number" if number is int else "a number"
    raise UsageError(f"allocator {name!r}: {key}={text!r} is not understood; use {wanted}")
