"""Recorded searches replayed with what their designer wrote as a judge: reasons and forecasts.

A verifier scores each reason as ``autoprune search --judge-verifier`` has it scored; a forecast
counts as it does there. Each judge decides alone, then all together; each search by itself, then
the searches on one text joined. Scores are kept in ``benchmarks/out/judging_reasons``, so that a
reading that was cut off goes on there.
"""

import argparse
import gzip
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from autoprune.digest import digest_file, digest_json
from autoprune.models.loading import LoadedModel, load_model
from autoprune.models.reference import DEMO_MODEL
from autoprune.search.paired import paired_difference, rank_correlation
from autoprune.search.steps import Verified, Verify
from autoprune.storage import write_json
from autoprune.verify import Chain, open_verifier
from benchmarks.evidence.records import COUNTS
from benchmarks.evidence.writing import write_record
from benchmarks.judging import logs_of
from benchmarks.judging_answers import answers_of
from benchmarks.judging_replay import (
    Answer,
    Replay,
    Run,
    Trial,
    decisions,
    joined,
    read_run,
    replay,
)
from benchmarks.measured import OUT, ROOT
from benchmarks.table import publish

NAME = "judging_reasons"
SOURCES = ("discovery", "discovery-3", "discovery-list", "discovery-2")
VERIFIERS = ("programmatic", "surprisal")
# A trained head, where one is named.
HEAD = "uhead"
OPINIONS = "opinions.jsonl.gz"
TOGETHER = "together"


@dataclass(frozen=True)
class Asked:
    """Which judges decide.

    Args:
        judges: Their names in a search.
        verifier: Whose scores of reasons they have.
    """

    judges: tuple[str, ...]
    verifier: str = "surprisal"


ASKED = {
    "past": Asked(("past",)),
    "designer": Asked(("designer",)),
    **{name: Asked(("verifier",), name) for name in (*VERIFIERS, HEAD)},
    TOGETHER: Asked(("past", "designer", "verifier")),
}


class Reader:
    """Scores reasons with a verifier, each once.

    Args:
        verifier: Its name, or the folder of a trained one.
        model: The model that reads.
        kept: File of the scores made so far.
    """

    def __init__(self, verifier: str, model: LoadedModel, kept: Path) -> None:
        self._verifier, self._kept = open_verifier(verifier, model), kept
        self.scores: dict[str, list[float]] = json.loads(kept.read_text()) if kept.exists() else {}

    def __call__(self, step: Verify) -> Verified:
        """Scores of a reason's steps."""
        chain = Chain(step.question, step.reason)
        key = digest_json([chain.question, list(chain.steps)])
        if key not in self.scores:
            (self.scores[key],) = self._verifier.score_chains([chain])
            write_json(self._kept, self.scores)
        return Verified(tuple(self.scores[key]))


def main() -> None:
    """Read, replay, print, and write the record where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--from", type=Path, nargs="+", dest="sources", help="records of searches (default: four)"
    )
    parser.add_argument("--model", default=DEMO_MODEL, help="the reader")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument(
        "--head", type=Path, help="a verifier that `autoprune verify train` made for this reader"
    )
    parser.add_argument("--record", type=Path, help="folder to keep the counts in, as evidence")
    args = parser.parse_args()
    sources = args.sources or [ROOT / "evidence" / name for name in SOURCES]
    model = load_model(args.model, dtype=getattr(torch, args.dtype))
    verifiers = {name: name for name in VERIFIERS}
    if args.head:
        verifiers[HEAD] = str(args.head)
    runs = {name: _read(sources, name, which, model) for name, which in verifiers.items()}
    if not runs[VERIFIERS[0]]:
        raise SystemExit("none of these records holds the log of a search that asked a designer")
    counts, opinions = _counted(runs)
    rows = [
        {"replayed": group, "judge": name, **_line(found)}
        for group in ("alone", "joined")
        for name, found in counts[group].items()
    ]
    title = f"{len(runs[VERIFIERS[0]])} recorded searches replayed with a designer's words as judge"
    publish(NAME, title, rows, counts=counts)
    if args.record:
        lines = "".join(f"{json.dumps(opinion)}\n" for opinion in opinions)
        args.record.mkdir(parents=True, exist_ok=True)
        (args.record / OPINIONS).write_bytes(gzip.compress(lines.encode(), mtime=0))
        write_record(
            args.record,
            COUNTS,
            "python -m benchmarks judging_reasons",
            ("counts.json", counts),
            ("--from", "--model", "--head"),
            beside=(OPINIONS,),
            of=[source.name for source in sources],
        )


def _read(sources: Sequence[Path], verifier: str, which: str, model: LoadedModel) -> list[Run]:
    """Searches that asked a designer, each once, with their answers."""
    # Another head scores otherwise.
    own = verifier if which == verifier else f"{verifier}-{_digest_of(Path(which))[:16]}"
    reader = Reader(which, model, OUT / NAME / f"{own}-{model.model.dtype}.json")
    found: list[Run] = []
    seen = set[str]()
    for log in (log for source in sources for log in logs_of(source)):
        digest = digest_file(log)
        if digest in seen:
            continue
        seen.add(digest)
        run = read_run(log)
        answers = answers_of(log, verifier, reader) if run.asked else {}
        if answers:
            found.append(replace(run, answers=answers))
            spent = f"{len(reader.scores)} reasons by {verifier}, {time.process_time():.0f} s"
            print(f"{log.name}: {spent} of processor time", file=sys.stderr, flush=True)
    return found


def _counted(runs: dict[str, list[Run]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What is counted by group and judge, and every opinion."""
    counts: dict[str, Any] = {"answers": _answers(runs), "alone": {}, "joined": {}, "each": []}
    opinions: list[dict[str, Any]] = []
    for judge, asked in ASKED.items():
        if asked.verifier not in runs:
            continue
        own = runs[asked.verifier]
        for group, units in (("alone", [[run] for run in own]), ("joined", joined(own))):
            made = [replay(unit, asked.judges) for unit in units]
            counts[group][judge] = _row(made, judge)
            for unit, one in zip(units, made, strict=True):
                where = {"group": group, "search": _name(unit), "judge": judge}
                counts["each"].append({**where, **_row([one], judge)})
                opinions += [{**where, **_opinion(trial, judge)} for trial in one.trials]
            print(f"{group}, {judge}: replayed", file=sys.stderr, flush=True)
    return counts, opinions


def _answers(runs: dict[str, list[Run]]) -> dict[str, int]:
    """What the answers whose recipes were measured hold."""
    measured: list[Answer] = [
        run.answers[result.alias]
        for run in runs["surprisal"]
        for batch in run.batches
        for result in batch
        if result.alias in run.answers
    ]
    stated = [answer for answer in measured if answer.prediction and answer.prediction.forecast]
    return {
        "searches": len(runs["surprisal"]),
        "reasons": sum(len(run.answers) for run in runs["surprisal"]),
        "measured": len(measured),
        "scored": sum(answer.trust is not None for answer in measured),
        "forecasts": len(stated),
    }


def _digest_of(folder: Path) -> str:
    return digest_json({path.name: digest_file(path) for path in sorted(folder.iterdir())})


def _name(unit: Sequence[Run]) -> str:
    return "+".join(f"{run.arm} {run.spec.seed}" for run in unit)


def _row(replays: Sequence[Replay], judge: str) -> dict[str, Any]:
    """Grades of a judge over replays, and what its decisions saved and cost."""
    return {
        "replays": len(replays),
        "good": sum(trial.good for one in replays for trial in one.trials),
        **_grades(replays, judge),
        **decisions(replays),
    }


def _of_search(judge: str) -> str:
    """What a search calls a judge."""
    return "verifier" if judge in (*VERIFIERS, HEAD) else judge


def _grades(replays: Sequence[Replay], judge: str) -> dict[str, Any]:
    """Brier scores of a judge and of each replay's best constant, over all opinions."""
    name = _of_search(judge)
    own: list[float] = []
    constant: list[float] = []
    for one in replays:
        pairs = [(t.chances[name], t.good) for t in one.trials if name in t.chances]
        share = sum(good for _, good in pairs) / max(1, len(pairs))
        own += [(chance - good) ** 2 for chance, good in pairs]
        constant += [(share - good) ** 2 for _, good in pairs]
    if not own:
        return {"opinions": 0, "brier": None, "constant": None, "difference": None}
    found = paired_difference(own, constant)
    return {
        "opinions": len(own),
        "brier": sum(own) / len(own),
        "constant": sum(constant) / len(own),
        "difference": found.mean,
        # One pair has no interval.
        "low": found.low if len(own) > 1 else None,
        "high": found.high if len(own) > 1 else None,
        "correlation": _correlation(replays, judge),
    }


def _correlation(replays: Sequence[Replay], judge: str) -> float | None:
    """Spearman's, of the bare number and the outcome, within replays; None for other judges."""
    if judge != "designer" and _of_search(judge) != "verifier":
        return None
    groups = []
    for one in replays:
        numbers = [(t.stated if judge == "designer" else t.trust, t.score) for t in one.trials]
        kept = [(number, score) for number, score in numbers if number is not None]
        groups.append(([number for number, _ in kept], [score for _, score in kept]))
    return rank_correlation(*groups)


def _opinion(trial: Trial, judge: str) -> dict[str, Any]:
    return {
        "recipe": trial.alias,
        "score": trial.score,
        "good": trial.good,
        "decision": trial.decision,
        "chance": trial.chances.get(_of_search(judge)),
        "trust": trial.trust,
        "stated": trial.stated,
    }


def _line(found: dict[str, Any]) -> dict[str, Any]:
    graded = found["difference"] is not None
    interval = f" [{found['low']:+.3f}, {found['high']:+.3f}]" if graded else ""
    return {
        "replays": found["replays"],
        "measurements": found["measurements"],
        "good": found["good"],
        "opinions": found["opinions"],
        "Brier": f"{found['brier']:.3f}" if graded else "none",
        "best constant": f"{found['constant']:.3f}" if graded else "none",
        "difference": f"{found['difference']:+.3f}{interval}" if graded else "none",
        "in use in": found["used_in"],
        "saved": found["skipped"],
        "good ones skipped": found["skipped_good"],
        "audits good": f"{found['audits_good']} of {found['audited']}",
        "best recipe lost": found["best_skipped"],
    }


if __name__ == "__main__":
    main()
