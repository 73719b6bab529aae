"""The command line's lazy imports: what a command needs is imported once it is chosen."""

import argparse
from importlib import import_module
from typing import Any, Protocol, cast

from autoprune.lazy import uncollected
from flows.cli.commands import module_of


class Grammar(Protocol):
    """The interface of a command's grammar.

    It may also have ``read(args)``, which turns what was typed into the command's parameters and
    refuses mistakes before the command's own module is imported.
    """

    DESCRIPTION: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own options."""


def grammar(name: str) -> Grammar:
    """Import a command's grammar, which is light."""
    return cast(Grammar, _module(name, "grammar"))


def command(name: str) -> Any:
    """Import what runs a command.

    Its ``run`` takes the arguments, and what the grammar's ``read`` made of them if it has one; it
    returns the exit code.
    """
    return _module(name, "command")


@uncollected()
def _module(name: str, part: str) -> Any:
    return import_module(module_of(name, part))
