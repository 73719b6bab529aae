"""Recorded searches with a judge put before their measurements: what it would have saved.

A replay: the recipes are those that the search measured, in its order, and a skipped one's result
is on record. A search that really skips proposes other recipes in their place and sees fewer
results, which no replay can show. Only the judge ``past`` has an opinion: reasons and forecasts of
designers are left out.
"""

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoprune.evaluation.intervals import wilson
from autoprune.search.judging import REACH
from benchmarks.evidence.records import COUNTS
from benchmarks.evidence.writing import write_record
from benchmarks.judging_replay import Replay, Run, decisions, joined, read_run, replay
from benchmarks.measured import ROOT
from benchmarks.table import Goal, publish

COMMAND = "python -m benchmarks judging"
SOURCES = ("discovery", "discovery-list", "discovery-2")


@dataclass
class Row:
    """Replays that share a line of the table."""

    name: str
    replays: list[Replay] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """What was counted, and what it cost."""
        made = decisions(self.replays)
        trials, audited = made["measurements"], made["audited"]
        worse = [one.best_left - one.best for one in self.replays]
        return {
            "name": self.name,
            "searches": len(self.replays),
            **made,
            "saved_percent": 100 * made["skipped"] / trials if trials else 0.0,
            "skipped_near_best": sum(one.near_best(t) for one in self.replays for t in one.skipped),
            "audits_interval": list(wilson(made["audits_good"], audited)) if audited else None,
            "worse_percent": 100 * math.expm1(sum(worse) / len(worse)),
        }


def main() -> None:
    """Replay and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--from", type=Path, nargs="+", dest="sources", help="records of searches (default: three)"
    )
    parser.add_argument("--record", type=Path, help="folder to keep the counts in, as evidence")
    args = parser.parse_args()
    sources = args.sources or [ROOT / "evidence" / name for name in SOURCES]
    runs = [read_run(log) for source in sources for log in logs_of(source)]
    if not runs:
        raise SystemExit("none of these records holds the log of a search")
    alone = [row.to_json() for row in each_alone(runs)]
    together = [row.to_json() for row in all_of_a_split(runs)]
    whole = [row.to_json() for row in _summed(all_of_a_split(runs))]
    table = [_line(found) for found in (*alone, *together, *whole)]
    lost = sum(found["best_skipped"] for found in (*alone, *together))
    title = f"{len(runs)} recorded searches replayed with the judge past before each measurement"
    goals = [Goal("replays whose best recipe was skipped", lost, 0)]
    data = {"alone": alone, "joined": together, "all_joined": whole[0] if whole else None}
    publish("judging", title, table, goals, counts=data)
    if args.record:
        names = [source.name for source in sources]
        write_record(args.record, COUNTS, COMMAND, ("counts.json", data), ("--from",), of=names)


def logs_of(record: Path) -> list[Path]:
    """Logs of the searches of a record."""
    return sorted(record.glob("logs/*.jsonl.gz")) or sorted(record.glob("events.jsonl"))


def each_alone(runs: Sequence[Run]) -> list[Row]:
    """Every search by itself, one row for each record and arm."""
    rows: dict[str, Row] = {}
    for run in runs:
        name = f"{run.record}, {run.arm}"
        rows.setdefault(name, Row(name)).replays.append(replay([run]))
    return list(rows.values())


def all_of_a_split(runs: Sequence[Run]) -> list[Row]:
    """All searches that measured on the same text as one, in turn; rows of one search are left out.

    A recipe that several measured counts once.
    """
    return [
        Row(f"split {own[0].split}, {len(own)} searches joined", [replay(own)])
        for own in joined(runs)
    ]


def _summed(rows: Iterable[Row]) -> list[Row]:
    replays = [one for row in rows for one in row.replays]
    return [Row("all joined", replays)] if replays else []


def _line(found: dict[str, Any]) -> dict[str, Any]:
    interval = found["audits_interval"]
    share = f" [{interval[0]:.0%}, {interval[1]:.0%}]" if interval else ""
    return {
        "replayed": found["name"],
        "searches": found["searches"],
        "measurements": found["measurements"],
        "judge in use in": found["used_in"],
        "saved": f"{found['skipped']} ({found['saved_percent']:.0f} %)",
        "good ones skipped": found["skipped_good"],
        f"within {REACH} nats of the best": found["skipped_near_best"],
        "audits good": f"{found['audits_good']} of {found['audited']}{share}",
        "final best worse by": f"{found['worse_percent']:.2f} %",
    }


if __name__ == "__main__":
    main()
