"""The command line's lazy border: what a command needs is imported here, once it was chosen."""

import argparse
from importlib import import_module
from typing import Any, Protocol, cast


class Grammar(Protocol):
    """What a module of :mod:`flows.grammar` offers.

    It may also have ``read(args)``, which makes the command's parameters of what was typed, and
    refuses what is wrong before the command's own module is imported.
    """

    DESCRIPTION: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own options."""


def grammar(name: str) -> Grammar:
    """What a command takes; light.

    Args:
        name: The command's name, a key of :data:`flows.grammar.COMMANDS`.
    """
    return cast(Grammar, _module("grammar", name))


def start(args: argparse.Namespace) -> int:
    """Run the chosen command; its ``run`` is called with what its ``read`` made, if it has one.

    Returns:
        The exit code.
    """
    read: Any = getattr(grammar(args.command), "read", None)
    made = () if read is None else (read(args),)
    code: int = _module("commands", args.command).run(args, *made)
    return code


def _module(room: str, name: str) -> Any:
    return import_module(f"flows.{room}.{name.replace('-', '_')}")
