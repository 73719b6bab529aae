"""What the answers of a recorded search gave as reason and forecast, read as the search reads them.

The log is given to today's search, which asks for each step and gets the recorded outcome; only the
reasons are scored anew, each at the moment at which a search with a verifier has it scored.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from autoprune.design.parts import Choices
from autoprune.design.prompts import Prompts
from autoprune.search.archive import Archive
from autoprune.search.events import as_stored
from autoprune.search.loop import SearchLoop
from autoprune.search.spec import SearchSpec
from autoprune.search.steps import (
    Failed,
    Outcome,
    Propose,
    Verified,
    Verify,
    WorkStep,
    outcome_from_json,
    step_to_json,
)
from benchmarks.judging_replay import Answer, events_of

Scorer = Callable[[Verify], Verified | Failed]


class _AsRecorded(SearchSpec):
    """A search whose answers may name each of its groups, as they once could at N:M."""

    @property
    def choices(self) -> Choices:
        """Allowed parts of a recipe."""
        return replace(super().choices, groups=self.groups)


def answers_of(log: Path, verifier: str, score: Scorer) -> dict[str, Answer]:
    """Reasons and forecasts of a search by alias, with a verifier's score of each reason.

    Reading ends where the log has no outcome for a step, as for a generation that was never begun.

    Args:
        log: Events from a record.
        verifier: Name of the verifier.
        score: Scores a reason with it.

    Raises:
        SystemExit: If the log's outcomes answer other steps than today's search plans. Questions
            may be worded otherwise.
    """
    events = events_of(log)
    body = next(event["body"] for event in events if event["kind"] == "opened")
    known = {event["key"]: event["body"] for event in events if event["kind"] == "outcome"}
    spec = _AsRecorded.recorded(body["spec"])
    loop = SearchLoop(
        spec.model_copy(update={"judge": "on", "judge_verifier": verifier}), Prompts(None)
    )
    # Nobody judges, so everything on record is asked for.
    loop.halving.panel.asked = ()
    course = loop.run()
    batch = next(course)
    while all(isinstance(step, Verify) or step.step_id in known for step in batch):
        outcomes: dict[str, Outcome] = {}
        for step in batch:
            if isinstance(step, Verify):
                outcomes[step.step_id] = score(step)
                continue
            recorded = known[step.step_id]
            if not _same(step, recorded["step"]):
                raise SystemExit(f"{log}: today's search plans {step.step_id} otherwise")
            outcomes[step.step_id] = outcome_from_json(recorded["outcome"])
        try:
            batch = course.send(outcomes)
        except StopIteration:
            break
    return _answers(loop.archive)


def _same(step: WorkStep, recorded: dict[str, object]) -> bool:
    planned = as_stored(step_to_json(step))
    wording = ("request",) if isinstance(step, Propose) else ()
    names = (planned.keys() | recorded.keys()) - set(wording)
    return all(planned.get(name) == recorded.get(name) for name in names)


def _answers(archive: Archive) -> dict[str, Answer]:
    found = {}
    for entry in archive.designed():
        if not entry.because:
            continue
        prediction = entry.prediction
        if prediction is not None:
            versus = archive.original(archive[prediction.versus]).alias
            prediction = replace(prediction, versus=versus)
        found[entry.alias] = Answer(entry.because, prediction, entry.trust)
    return found
