"""``autoprune promote``: move the champion when the gate passes."""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from autoprune.comparison.gate import GateVerdict
from autoprune.plain_text import shell_line
from autoprune.report.sealed import FRESH, SealedSet
from flows import promote
from flows.engine import open_engine
from flows.promote.params import PromoteParams
from flows.promote.verdict import verdict_line
from flows.terminal.output import emit, tell
from tasks.state import State

NOTHING_PASSED = 3


def run(args: argparse.Namespace, params: PromoteParams) -> int:
    """Measure, show the table, move the alias; return 3 if the gate refuses."""
    asks = not (args.yes or params.dry_run or args.json) and _at_terminal()
    if params.folder is None:
        # Before a run is on record, which a wrong name would leave there as failed.
        promote.require_model(State.open(), params.name, rollback=params.rollback)
    with open_engine(args) as engine:
        looked = params.model_copy(update={"dry_run": True}) if asks else params
        record = engine.call(promote.promote, looked)
    if asks:
        record = _ask_and_settle(record, params)
    emit(args, record, _text(record, params))
    return 0 if record["passed"] else NOTHING_PASSED


def _at_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _ask_and_settle(record: dict[str, Any], params: PromoteParams) -> dict[str, Any]:
    """Show the table, ask, and act on that measurement; asking costs no second one."""
    state = State.open()
    rollback = record["rollback"]
    # A refusal is recorded without asking: it moves nothing.
    agreed = True
    if record["passed"]:
        tell(_text(record, params))
        new = record["champion"] if rollback else record["challenger"]
        tell(f"make version {new} of {record['name']} champion? [y/N] ", end="")
        agreed = sys.stdin.readline().strip().lower() in {"y", "yes"}
    if not agreed:
        return record
    if rollback:
        done = promote.roll_back(state, record["name"], False, shown=record)
    else:
        asked = record["name"], record["challenger"], record["champion"]
        verdict = GateVerdict.from_json(record)
        done = {"moved": promote.settle(state, *asked, verdict, promote.text_of(record))}
    return record | done | {"dry_run": False}


def _text(record: Mapping[str, Any], params: PromoteParams) -> str:
    outcome = f"{verdict_line(record)}\nnext  {_next(record, params)}"
    if record["rollback"]:
        return outcome
    return f"{gate_table(record)}\n{_text_line(record)}\n{outcome}"


def _text_line(record: Mapping[str, Any]) -> str:
    """Say what was measured on, what was left out, and how often it has been looked at."""
    text = f"measured on {record['corpus']}, {record['part']}"
    if record["split_digest"] is not None:
        text += f", split {record['text_split']} ({record['split_digest'][:12]}…)"
    seen = record["overlap"].get("contaminated", 0)
    if seen:
        done = "left out" if record["overlap"]["dropped"] else "measured on all the same"
        text += f"; {seen} of {record['overlap']['checked']} parts were seen before: {done}"
    if record["sealed_set"] is not None:
        return f"{text}; {SealedSet(**record['sealed_set']).facts}"
    looks = record["sealed_looks"]
    return text + (f"; measured on {looks} times so far" if looks is not None else "")


def gate_table(record: Mapping[str, Any]) -> str:
    """Format the gate's checks as aligned lines."""
    rows = [("check", "", "champion", "challenger", "")]
    rows += [
        (c["name"], "pass" if c["ok"] else "FAIL", c["champion"], c["challenger"], c["detail"])
        for c in record["checks"]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[4]]).rstrip())
    head = f"{record['name']}: version {record['challenger']} against "
    head += "no champion" if record["champion"] is None else f"version {record['champion']}"
    return "\n".join([head, *lines])


def _next(record: Mapping[str, Any], params: PromoteParams) -> str:
    """The command that usually follows."""
    if record["rollback"]:
        return shell_line("ls", "models")
    if record["moved"]:
        return shell_line("promote", "--name", record["name"], "--rollback")
    if not record["passed"]:
        return shell_line("report")
    # A folder was registered as the version that was measured.
    asked = {"name": record["name"], "version": record["challenger"], "folder": None}
    if params.text_split == FRESH:
        # A set that was measured is no longer fresh.
        asked["text_split"] = record["text_split"]
    again = params.model_copy(update=asked | {"dry_run": False})
    return f"{again.command_line('promote', ())} --yes"
