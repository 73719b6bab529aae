"""What MLflow costs a search: a hundred candidates written to SQLite, and once more unchanged."""

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from autoprune.report.data import ReportEntry
from benchmarks.table import Goal, publish
from tasks.state import State
from tasks.track import Tracker
from tasks.track.traces import Traces

LAYERS = 210
LIMIT = 3.0
CALLS = ("create_run", "log_batch", "set_terminated")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=100, help="every fifth is a rejected one")
    parser.add_argument("--repeat", type=int, default=3, help="fresh stores, the best counts")
    args = parser.parse_args()
    entries = [_entry(number) for number in range(1, args.candidates + 1)]
    mask_records = {entry.id: _mask_record(entry.id) for entry in entries if not entry.code}
    calls = [_call(entry.id) for entry in entries]
    best: dict[str, float] = {}
    counted: Counter[str] = Counter()
    for _ in range(args.repeat):
        # MLflow leaves the last store's address here, and a fresh store is wanted.
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        with tempfile.TemporaryDirectory() as folder:
            tracker = Tracker(State.open(Path(folder)))
            counted = _count(tracker)
            parent = tracker.parent("tiny", "benchmark", {}, {})
            counted.clear()
            mirror = partial(tracker.mirror, parent, entries, mask_records)
            steps: dict[str, Callable[[], object]] = {
                "candidates": mirror,
                "the same again": mirror,
                "designer calls as traces": partial(_trace, tracker, parent, calls),
            }
            for title, work in steps.items():
                start = time.perf_counter()
                work()
                seconds = time.perf_counter() - start
                best[title] = min(seconds, best.get(title, seconds))
    rows: list[dict[str, Any]] = [
        {"what": title, "seconds": seconds, "ms each": 1000 * seconds / len(entries)}
        for title, seconds in best.items()
    ]
    each = sum(counted[name] for name in CALLS) / len(entries)
    goals = [
        Goal(f"seconds for {len(entries)} candidates", best["candidates"], LIMIT),
        Goal("MLflow calls for a candidate", each, 3.0),
    ]
    title = f"{len(entries)} candidates of {LAYERS} layers into MLflow on SQLite"
    publish("mirroring", title, rows, goals)


def _count(tracker: Tracker) -> Counter[str]:
    """Count calls that write, each by its name."""
    counted: Counter[str] = Counter()
    for name in CALLS:
        original = getattr(tracker.client, name)

        def call(*args: Any, _name: str = name, _call: Any = original, **kwargs: Any) -> Any:
            counted[_name] += 1
            return _call(*args, **kwargs)

        setattr(tracker.client, name, call)
    return counted


def _trace(tracker: Tracker, parent: str, calls: list[dict[str, Any]]) -> None:
    Traces(tracker).write(parent, "benchmark", calls, tracker.children(parent))


def _entry(number: int) -> ReportEntry:
    rejected = number % 5 == 0
    return ReportEntry(
        id=f"C{number}",
        alias=f"C{number}",
        kind="candidate",
        formula="abs(W) * x_norm ** {a:0.5}",
        order=number,
        source="abs(W) * x_norm ** {a:0.5}",
        reasoning="Outliers in the input matter more than their mean. " * 4,
        verdict="rejected" if rejected else "accepted",
        code="nan_scores" if rejected else "",
        perplexity=None if rejected else 20.0 + number,
        rungs={} if rejected else {"few windows": 21.0 + number, "all windows": 20.0 + number},
        sparsity=None if rejected else 0.6,
        layer_sparsity={} if rejected else {f"layer{index}": 0.6 for index in range(LAYERS)},
        seconds=7.5,
        tokens=540,
    )


def _mask_record(name: str) -> dict[str, Any]:
    return {"candidate": name, "mask_digest": f"{name:0>64}", "recipe": {"group": "row"}}


def _call(name: str) -> dict[str, Any]:
    return {
        "step": f"g1.{name}",
        "operator": "exploit",
        "candidate": name,
        "designer": "benchmark",
        "messages": [{"role": "user", "content": "Improve this formula. " * 100}],
        "temperature": 0.8,
        "answer": "because: outliers\nmetric: abs(W) * x_norm\n",
        "failed": "",
        "finish_reason": "stop",
        "prompt_tokens": 480,
        "completion_tokens": 60,
        "seconds": 3.0,
        "at": time.time(),
    }


if __name__ == "__main__":
    main()
