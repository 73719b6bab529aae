"""A whole search in this process, without orchestration: one folder, resumed where it stopped."""

import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from autoprune.design.chat import Reply
from autoprune.errors import PrerequisiteError
from autoprune.names import alias_of
from autoprune.progress import silent
from autoprune.search.forecasts import best_so_far, breakthroughs
from autoprune.search.search import LOG_FILE, Search
from autoprune.search.spec import SearchSpec
from autoprune.search.steps import Done, Propose, Seal, WorkStep
from tasks import steps
from tasks.design import DesignerSession
from tasks.prepare import note_look, prepare
from tasks.search_bench import SearchBench
from tasks.state import State
from tasks.workbench import opened

Ask = Callable[[Propose], Reply]
# Behind the name of an arm.
JUDGED = "+judge"


def run_search(
    folder: Path, spec: SearchSpec, *, ask: Ask | None = None, state: State | None = None
) -> dict[str, Any]:
    """Search to the end and say what came out; a finished search only says it.

    Formulas are evaluated by the language itself, so that no container's time is measured.

    Args:
        folder: Of the search; made when missing.
        spec: What to search.
        ask: Answers proposals; None: the specification's designer.
        state: Keeps statistics and windows from one search to the next; None: the usual one.
    """
    with Search.open(folder, spec) as search:
        if search.finished is None:
            _work(search, folder.name, ask, state or State.open())
        return _summary(search)


def read_search(folder: Path) -> dict[str, Any]:
    """What came out of a search so far; nothing is run.

    Raises:
        UsageError: If there is none, or another version planned it.
        PrerequisiteError: If another process has it open.
    """
    with Search.open(folder, wait=0.0) as search:
        return _summary(search)


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a search that came to its end; one that is running has not."""
    if not (folder / LOG_FILE).exists():
        return False
    try:
        with Search.open(folder, wait=0.0) as search:
            return search.finished is not None
    except PrerequisiteError:
        return False


def _work(search: Search, name: str, ask: Ask | None, state: State) -> None:
    spec = search.spec
    bench = SearchBench(
        spec.model, state, spec.seed, silent,
        spec=spec, run_id=name, designs_in="off",
    )  # fmt: skip
    asked = DesignerSession(spec.designer, state, target=spec.model)
    with opened(bench), closing(asked) as session:
        prepare(bench)
        while not isinstance(step := search.next_step(), Done):
            started = time.monotonic()
            if isinstance(step, Propose):
                answer = ask(step) if ask else session.answer(step.request)
                search.record(step, answer)
            else:
                if isinstance(step, Seal):
                    note_look(bench)
                search.record(step, steps.do(bench, step, search.seconds_for(step)))
            _say(name, search, step, time.monotonic() - started)


def _say(name: str, search: Search, step: WorkStep, seconds: float) -> None:
    best = search.best
    known = f"{best.measurement.perplexity:.2f}" if best and best.measurement else "-"
    print(f"{name} {step.step_id}: {seconds:.1f} s, best {known}", file=sys.stderr, flush=True)


def arm_of(spec: SearchSpec) -> str:
    """The arm's name; one that judges before it measures is another."""
    return spec.arm + (JUDGED if spec.judge == "on" else "")


def _summary(search: Search) -> dict[str, Any]:
    best = search.best
    named = alias_of(search.spec.reference)
    reference = next(e for e in search.entries if e.alias == named)
    designed = [e for e in search.entries if not e.is_baseline]
    statuses = [e.status for e in designed]
    asked = [h for h in search.history() if h["step"]["kind"] == "Propose"]
    first = min((e.score for e in search.entries if e.is_baseline and 2 in e.results), default=0.0)
    graded, judging = search.forecasts, search.judging
    return {
        "arm": arm_of(search.spec),
        "seed": search.spec.seed,
        # What figures are shares of, where it is not Wanda.
        **({"reference": search.spec.reference} if search.spec.schemes else {}),
        "evaluations": search.spent.evaluations,
        # Nats per token against the reference on selection text, after each evaluation.
        "curve": best_so_far(designed, first),
        "breakthroughs": len(breakthroughs(designed, first)),
        "forecasts": graded.to_json() if graded else None,
        **({"judging": judging.to_json()} if judging else {}),
        "ended": search.finished,
        "best": best.alias if best else None,
        "recipe": best.recipe.to_json() if best and best.recipe else None,
        "formula": best.formula if best else None,
        "operator": best.operator if best else None,
        "selection": best.measurement.perplexity if best and best.measurement else None,
        "sealed": best.sealed.perplexity if best and best.sealed else None,
        # Nats per token of each sealed window.
        "sealed_nll": list(best.sealed.nll) if best and best.sealed else None,
        "reference_selection": reference.results[2].perplexity if 2 in reference.results else None,
        "reference_sealed": reference.sealed.perplexity if reference.sealed else None,
        "reference_nll": list(reference.sealed.nll) if reference.sealed else None,
        # Every hand-made recipe, the reference among them.
        "starts": {
            entry.alias: {
                "recipe": entry.recipe.to_json() if entry.recipe else None,
                "selection": entry.measurement.perplexity if entry.measurement else None,
                "sealed": entry.sealed.perplexity if entry.sealed else None,
                "sealed_nll": list(entry.sealed.nll) if entry.sealed else None,
            }
            for entry in search.entries
            if entry.is_baseline
        },
        "candidates": search.spent.candidates,
        "measured": statuses.count("measured"),
        "duplicates": statuses.count("duplicate"),
        "rejected": statuses.count("rejected"),
        "answers": len(asked),
        "answer_seconds": sum(h["outcome"]["seconds"] for h in asked),
        "tokens": search.spent.tokens,
        "seconds": search.spent.seconds,
        "rung_correlation": search.rung_correlation[0],
    }
