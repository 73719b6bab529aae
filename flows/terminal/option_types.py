"""Argument types of the command line; each error says what is allowed."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any


def whole_number(text: str) -> int:
    """A number from 0 up."""
    value = _integer(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0; give a whole number from 0 up")
    return value


def positive_number(text: str) -> int:
    """A number from 1 up."""
    value = _integer(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1; give a whole number from 1 up")
    return value


def number_or_word(words: Sequence[str]) -> Callable[[str], int | str]:
    """A type for a number from 0 up, or one of a few words."""

    def read(text: str) -> int | str:
        if text in words:
            return text
        try:
            return whole_number(text)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"{error}, or {' or '.join(words)}") from None

    return read


def word_or_form(words: Sequence[str], forms: Sequence[str]) -> Callable[[str], str]:
    """A type for one of a few words, or a text that begins as a form such as ``files:DIR``."""
    beginnings = {form.partition(":")[0] + ":" for form in forms}

    def read(text: str) -> str:
        head, colon, rest = text.partition(":")
        if text in words or (head + colon in beginnings and rest):
            return text
        allowed = ", ".join(map(repr, [*words, *forms]))
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from {allowed})")

    return read


def separated(read: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """A type for a comma-separated list, each item read by ``read``."""

    def read_all(text: str) -> list[Any]:
        return [read(item) for item in (part.strip() for part in text.split(",")) if item]

    return read_all


def share(text: str) -> float:
    """A share, 0 ≤ s < 1."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number; give a share such as 0.6"
        ) from None
    if not 0.0 <= value < 1.0:
        near = f", {value / 100:g} for {value:g} %" if 1.0 < value < 100.0 else ""
        raise argparse.ArgumentTypeError(
            f"{text} is outside 0 ≤ s < 1; give a share, not a percentage{near}"
        )
    return value


def add_overwrite(to: argparse._ActionsContainer, what: str) -> None:
    """Add the option that allows an existing target to be replaced."""
    to.add_argument("--overwrite", action="store_true", help=f"replace {what} (default: refuse)")


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
