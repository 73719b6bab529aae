"""The command line ``autoprune COMMAND``: one-paragraph errors, meaningful exit codes."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from autoprune.errors import AutopruneError, UsageError
from autoprune.plain_text import one_line, printable, shell_line
from flows.cli.loading import command, grammar
from flows.cli.parser import parse
from flows.contention import wait_passively
from flows.ending import end_fast
from flows.extras import with_extra
from flows.safe_path import leave_out_current_folder
from flows.terminal.output import tell
from tasks.switches import DEVICE_VARIABLE

INTERRUPTED = 130
NEXT = "next  "
KEPT = "what is finished is kept"
LOST = "nothing was saved yet, and the same command starts over"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Before the grammar: its imports must not come from the current folder either.
    leave_out_current_folder()
    wait_passively()
    try:
        args = parse(arguments)
    except UsageError as error:
        return _fail(error, as_json="--json" in arguments)
    except SystemExit as stop:
        # Help and completion are printed by the parser.
        return _printed(int(stop.code or 0))
    except BrokenPipeError:
        return _unread()
    _set_up_logging(args.verbose)
    if device := getattr(args, "device", None):
        os.environ[DEVICE_VARIABLE] = device
    end_fast()
    made: tuple[Any, ...] = ()
    try:
        read = getattr(grammar(args.command), "read", None)
        made = () if read is None else (read(args),)
        return _printed(command(args.command).run(args, *made))
    except KeyboardInterrupt as stop:
        follow = _next_command(stop) or f"{NEXT}{shell_line(*arguments)}"
        resumes = all(getattr(params, "resumes", True) for params in made)
        message = f"interrupted; {KEPT if resumes else LOST}"
        if args.json:
            _print_record(message, INTERRUPTED, follow)
        tell(f"\n{message}\n{follow}")
        return INTERRUPTED
    except BrokenPipeError:
        return _unread()
    except Exception as error:
        error = with_extra(error, args.command)
        return _fail(error, as_json=args.json, verbose=args.verbose)


def _printed(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _unread()
    return code


def _unread() -> int:
    """The reader closed the pipe (`| head`); the interpreter must not complain on exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _fail(error: Exception, *, as_json: bool, verbose: bool = False) -> int:
    code = getattr(error, "exit_code", 1)
    message, follow = _message(error), _next_command(error)
    picture: str = getattr(error, "picture", "")
    if as_json:
        _print_record(message, code, follow)
    if verbose:
        tell(traceback.format_exc(), end="")
    tell(f"autoprune: {message}")
    if picture:
        tell(picture)
    if follow:
        tell(follow)
    return int(code)


def _print_record(message: str, code: int, follow: str) -> None:
    record = {"ok": False, "error": message, "exit_code": code}
    if follow:
        record["next"] = follow.removeprefix(NEXT)
    print(json.dumps(record))


def _next_command(error: BaseException) -> str:
    """Return the error's note on how to continue; empty if it has none."""
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(NEXT)]
    return notes[-1] if notes else ""


def _message(error: Exception) -> str:
    # Join the lines into one paragraph, except for what is drawn below a fault.
    text = one_line(str(error).removesuffix(getattr(error, "picture", "")))
    if isinstance(error, AutopruneError) or hasattr(error, "exit_code"):
        return text
    if isinstance(error, OSError):
        place = f" ({one_line(str(error.filename))})" if error.filename else ""
        return (
            f"the system refused: {error.strerror or text}{place}; "
            "fix it and run the same command again"
        )
    return (
        f"unexpected {type(error).__name__}: {text or 'no message'}; this is a fault of AutoPrune; "
        "type the same command with -v and send what it prints"
    )


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _set_up_logging(verbose: bool) -> None:
    """Send our log to stderr, and that of other libraries only if requested."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Printable("%(levelname)s %(name)s: %(message)s"))
    for ours in ("autoprune", "sandbox", "tasks", "flows"):
        logger = logging.getLogger(ours)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO if verbose else logging.ERROR)
    if not verbose:
        # Without any handler, Python itself prints the warnings of every library.
        logging.getLogger().addHandler(logging.NullHandler())
