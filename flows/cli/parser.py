"""The command line's grammar: light, so that ``autoprune --help`` answers at once."""

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn

from autoprune import __version__
from autoprune.errors import UsageError
from flows.cli.commands import COMMANDS, ON_DEVICE, SEEDED
from flows.cli.loading import grammar
from flows.terminal.option_types import whole_number

HELP, VERSION = "help", "version"
# Options of every command, which may also precede it: without and with a value.
SWITCHES, VALUED = ("--json", "-q", "--quiet", "-v", "--verbose"), ("--seed", "--device")
COMPLETION = "--print-completion"
EPILOG = """\
exit codes: 0 done, 1 failed, 2 wrong use, 3 rejected or nothing passed, 4 prerequisite missing,
130 interrupted (the last lines say what is kept and which command goes on)

completion: autoprune --print-completion bash > FILE of your shell's completions (bash, zsh, tcsh)

examples:
  autoprune help search
  autoprune demo
  autoprune prune sshleifer/tiny-gpt2 --metric wanda --sparsity 0.6 --out pruned
  autoprune validate my_metric.py
"""


# Commands of earlier versions and their replacements, kept for one release.
RETIRED = {
    "study": (
        "`autoprune compare`, a line for each model: autoprune compare MODEL --methods SCHEMES "
        "--sparsity RATIOS --suite SUITES --calibration-text generic=TEXT --calibration-text "
        "aligned=OWN_DATA --calibration-text own=self-generated, lists with commas between; "
        "docs/compare.md shows a study's matrix so"
    )
}


class Parser(argparse.ArgumentParser):
    """Parser with one-paragraph errors: mistake, nearest match, where to look."""

    def error(self, message: str) -> NoReturn:
        """Raise the paragraph as an error of ours, instead of printing the usage and exiting."""
        hint = _suggestion(message)
        raise UsageError(f"{message}; {hint}type `{self.prog} --help` for what is allowed")


def build_parser(only: str | None = None) -> Parser:
    """Build the grammar, one sub-parser per command."""
    parser = Parser(
        prog="autoprune",
        allow_abbrev=False,
        description=(
            "Compare pruning methods for language models, prune to exact budgets, and search\n"
            "for better recipes."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"autoprune {__version__}")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=Parser
    )
    for name, does in COMMANDS.items():
        sub = subparsers.add_parser(
            name,
            help=does,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            # Its own parent: commands may set other defaults, and parsers share what they inherit.
            parents=[_shared_options(name)],
            allow_abbrev=False,
        )
        if only in (None, name):
            command = grammar(name)
            sub.description, sub.epilog = command.DESCRIPTION, f"example:\n  {command.EXAMPLE}"
            command.add_arguments(sub)
        sub.set_defaults(parser=sub)
    return parser


def _add_completion(parser: Parser) -> None:
    """Add the option that prints a shell's completions of all commands and options."""
    import shtab

    shtab.add_argument_to(parser, [COMPLETION], help="print a shell's completions")


def _shared_options(command: str) -> Parser:
    """Return the options of every command, and those of them that have an effect on this one."""
    shared = Parser(add_help=False)
    group = shared.add_argument_group("options of every command")
    group.add_argument(
        "--json", action="store_true", help="print the result as one JSON object on stdout"
    )
    if command in SEEDED:
        group.add_argument(
            "--seed", type=whole_number, help="seed of every random choice (default 0)"
        )
    if command in ON_DEVICE:
        usual = "AUTOPRUNE_DEVICE, else the accelerator where there is one"
        if command == "resume":
            usual = "that which the search was started with"
        group.add_argument(
            "--device",
            metavar="NAME",
            help=f"device of torch to compute on, such as cpu or cuda:1 (default: {usual})",
        )
    noise = group.add_mutually_exclusive_group()
    noise.add_argument("-q", "--quiet", action="store_true", help="no progress, only the result")
    noise.add_argument("-v", "--verbose", action="store_true", help="log more; show tracebacks")
    return shared


def _suggestion(message: str) -> str:
    if "invalid choice:" not in message or "choose from" not in message:
        return ""
    wrong = message.split("invalid choice: ", 1)[1].split(" ", 1)[0].strip("'\"")
    choices = message.split("choose from ", 1)[1].rstrip(")").replace("'", "").split(", ")
    near = difflib.get_close_matches(wrong, choices, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}? " if near else ""


def _near(wrong: str, known: Sequence[str]) -> str:
    """Return the option nearest to a wrong one, or the one that it extends by more words."""
    name = wrong.partition("=")[0].replace("_", "-")
    longer = [option for option in known if name.startswith(f"{option}-")]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    # Other programs call our `--out` `--output-dir`.
    shorter = [option for option in known if len(option) > 4 and name.startswith(option)]
    return next(iter([*longer, *close, *shorter]), "")


def _command_first(argv: Sequence[str]) -> list[str]:
    """Move the options of every command behind the command, where its parser reads them."""
    rest, options = list(argv), list[str]()
    while rest and rest[0].partition("=")[0] in (*SWITCHES, *VALUED):
        # The value of an option is a word of its own, or behind a sign.
        words = 2 if rest[0] in VALUED else 1
        options += rest[:words]
        del rest[:words]
    return [*rest[:1], *options, *rest[1:]]


def _require_effect(argv: Sequence[str], command: str) -> None:
    """Refuse the options of :data:`VALUED` on a command that has none of them."""
    # A promotion says itself what stands for its seed.
    acting = {"--seed": SEEDED | {"promote"}, "--device": ON_DEVICE}
    for option in VALUED:
        typed = any(word.partition("=")[0] == option for word in argv)
        if typed and command in COMMANDS and command not in acting[option]:
            raise UsageError(f"{option} has no effect on `autoprune {command}`; leave it out")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments; print help and exit if requested."""
    argv = _command_first(argv)
    if argv[:1] == [HELP]:
        argv = [*argv[1:2], "--help"]
    elif argv == [VERSION]:
        argv = [f"--{VERSION}"]
    completes = COMPLETION in (word.partition("=")[0] for word in argv)
    command = next((word for word in argv if not word.startswith("-")), "")
    _require_effect(argv, command)
    parser = build_parser(None if completes else command)
    if command in RETIRED:
        raise UsageError(f"{command} is now {RETIRED[command]}")
    if completes:
        _add_completion(parser)
    args, unknown = parser.parse_known_args(argv)
    sub: Parser = args.parser
    del args.parser
    if unknown:
        known = [option for action in sub._actions for option in action.option_strings]
        near = [found for word in unknown if word.startswith("-") and (found := _near(word, known))]
        hint = f"; did you mean {' and '.join(dict.fromkeys(near))}?" if near else ""
        sub.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return args
