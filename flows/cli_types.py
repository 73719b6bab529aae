"""Argument types of the command line: each refuses a wrong value with what is allowed."""

import argparse


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


def text_split(text: str) -> int | str:
    """Number of a split, or ``fresh``."""
    from autoprune.report.sealed import FRESH

    if text == FRESH:
        return text
    try:
        return whole_number(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or {FRESH}") from None


TEXT_SPLIT_HELP = (
    "number of the split of the text, whose sealed part is the sealed set of that number (default "
    "{default}); fresh: the lowest whose sealed set nobody has looked at (`autoprune ls sealed`)"
)


def add_text_split(group: argparse._ActionsContainer, default: str = "0") -> None:
    """The option ``--text-split``, not given unless it is typed."""
    group.add_argument(
        "--text-split",
        type=text_split,
        metavar="N|fresh",
        help=TEXT_SPLIT_HELP.format(default=default),
    )


def share(text: str) -> float:
    """A sparsity, 0 ≤ s < 1."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number; give a share such as 0.6"
        ) from None
    if not 0.0 <= value < 1.0:
        near = f", {value / 100:g} for {value:g} %" if 1.0 < value < 100.0 else ""
        raise argparse.ArgumentTypeError(
            f"sparsity {text} is outside 0 ≤ s < 1; give a share, not a percentage{near}"
        )
    return value


def add_overwrite(to: argparse._ActionsContainer, what: str) -> None:
    """The option that gives up what lies at the target.

    Args:
        to: A parser, or a group of one.
        what: Named in the help.
    """
    to.add_argument("--overwrite", action="store_true", help=f"replace {what} (default: refuse)")


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
