"""Skips recipes that are not worth measuring, according to judges that have proved reliable.

A recipe is skipped if every judge in use that has an opinion of it finds it unlikely to come within
reach of the best: where two have one, both must; one alone may, if it is in use. A judge is in use
while its forecasts, each made before its outcome, clearly beat the best constant forecast; until
then it neither skips a recipe nor saves one. One in ten of the skipped, drawn at random, is
measured anyway to show what the rule costs.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from autoprune.evaluation.intervals import wilson
from autoprune.search import graph_notes
from autoprune.search.archive import Archive, Entry
from autoprune.search.judges import JUDGES, VERIFIER, outcome_of
from autoprune.search.paired import paired_difference
from autoprune.search.promotion import kind_of
from autoprune.search.randomness import stream
from autoprune.search.regression import Forecast
from autoprune.search.state import SearchState
from autoprune.search.sweeping import SWEEP

Decision = Literal["measure", "skip", "audit"]
# A recipe up to this many nats per token behind the best so far is still worth measuring: tuning
# its numbers gains about as much.
REACH = 0.02
# Below this probability of coming within reach, a judge expects a recipe to fail.
UNLIKELY = 0.1
# Number of graded forecasts before a judge may be used.
OUTCOMES_NEEDED = 8
# One in this many skipped recipes is measured.
AUDITED = 10


@dataclass(frozen=True)
class Judgement:
    """The decision on one recipe before it was measured.

    Args:
        candidate: Alias.
        line: Largest difference to the reference that is within reach of the best at that time.
        best: Alias of that best entry.
        forecasts: By judge; those without an opinion are left out.
        used: Judges that decided.
        decision: ``audit``: due to be skipped, but drawn to be measured.
    """

    candidate: str
    line: float
    best: str
    forecasts: dict[str, Forecast]
    used: tuple[str, ...]
    decision: Decision

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form for the record; figures are rounded, since they decide nothing there."""
        body = asdict(self) | {"line": round(self.line, 6), "used": list(self.used)}
        body["forecasts"] = {
            name: {"mean": round(f.mean, 6), "spread": round(f.spread, 6)}
            for name, f in self.forecasts.items()
        }
        return body


@dataclass(frozen=True)
class JudgeGrade:
    """How well a judge foresaw which recipes come within reach of the best.

    Args:
        judge: Name.
        outcomes: Forecasts whose recipe has been measured as it is.
        brier: Mean squared error of its probabilities; None without outcomes.
        base: The same for the best constant: the share that came within reach, in hindsight.
        used: Whether it beats that constant with a 95 % interval over enough outcomes.
    """

    judge: str
    outcomes: int
    brier: float | None
    base: float | None
    used: bool


@dataclass(frozen=True)
class Judging:
    """The account of a search's judgements.

    Args:
        judged: Recipes that were judged before any measurement.
        skipped: Those left out, excluding audits: measurements that were saved.
        audited: Those due to be skipped but drawn to be measured.
        known: Audits with an outcome.
        good: Those of ``known`` that came within reach of the best at that time.
        interval: 95 % interval of the share of good ones among the skipped; None without audits.
        grades: Grade of each judge.
    """

    judged: int
    skipped: int
    audited: int
    known: int
    good: int
    interval: tuple[float, float] | None
    grades: tuple[JudgeGrade, ...]

    @property
    def text(self) -> str:
        """One line for people."""
        judges = "; ".join(map(_grade_text, self.grades))
        counts = (
            f"{self.judged} recipes judged, {self.skipped} skipped unmeasured, "
            f"{self.audited} measured as audits"
        )
        if self.interval is not None:
            low, high = self.interval
            counts += (
                f", of which {self.good} of {self.known} would have been good "
                f"([{low:.0%}, {high:.0%}] of the skipped)"
            )
        return f"{counts}; {judges}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        grades = [asdict(grade) for grade in self.grades]
        interval = None if self.interval is None else list(self.interval)
        return {**vars(self), "grades": grades, "interval": interval, "text": self.text}


class JudgePanel:
    """Judges the recipes of a search.

    Args:
        state: Skipped entries change their status, and the graph says so.
        asked: Names of the judges that forecast; None: all. Without any, nothing is skipped.
    """

    def __init__(self, state: SearchState, asked: Collection[str] | None = None) -> None:
        self.state = state
        self.asked = asked
        self.known: dict[str, Judgement] = {}

    def admitted(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the entries that are worth measuring; all of them if judging is off.

        Args:
            entries: Readable, accepted by the sandbox and not measured.
        """
        if self.state.spec.judge == "off":
            return list(entries)
        fresh = self.unjudged(entries)
        if fresh:
            self._judge(fresh)
        return [entry for entry in entries if entry.status == "valid"]

    def unjudged(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the entries that were not judged yet."""
        return [entry for entry in entries if entry.alias not in self.known]

    def audits(self) -> list[Entry]:
        """Return recipes drawn to be measured that have not been measured as they are."""
        archive = self.state.archive
        drawn = [archive[j.candidate] for j in self.known.values() if j.decision == "audit"]
        return [entry for entry in drawn if entry.status == "measured" and 2 not in entry.results]

    @property
    def account(self) -> Judging | None:
        """Summary of the judging so far; None if judging is off."""
        if self.state.spec.judge == "off":
            return None
        return account(self.state.archive, list(self.known.values()))

    def _judge(self, entries: Sequence[Entry]) -> None:
        archive = self.state.archive
        best = archive.best()
        if best is None:
            return
        line = best.score + REACH
        judges = {
            name: make(archive)
            for name, make in JUDGES.items()
            if self.asked is None or name in self.asked
        }
        grades = grades_of(archive, list(self.known.values()))
        used = tuple(grade.judge for grade in grades if grade.used)
        tried = {kind_of(entry) for entry in archive.measured() if entry.rung >= 2}
        for entry in entries:
            made = {name: judge.forecast(entry) for name, judge in judges.items()}
            forecasts = {name: found for name, found in made.items() if found is not None}
            asked = tuple(name for name in used if name in forecasts)
            # The sweep measures each repair once, and nothing is known about a new kind.
            free = entry.operator == SWEEP or kind_of(entry) not in tried
            hopeless = all(forecasts[name].below(line) < UNLIKELY for name in asked)
            decision: Decision = "measure"
            if asked and hopeless and not free:
                decision = "audit" if self._drawn() else "skip"
            where = (entry.alias, line, best.alias, forecasts, asked, decision)
            self.known[entry.alias] = Judgement(*where)
            if decision == "skip":
                entry.status = "skipped"
                entry.detail = f"not measured: unlikely to come within reach of {best.alias}"
                graph_notes.note_skipped(self.state, entry)

    def _drawn(self) -> bool:
        """Draw one at random from every ten that are to be skipped."""
        count = sum(judgement.decision != "measure" for judgement in self.known.values())
        block, place = divmod(count, AUDITED)
        return place == stream(self.state.spec.seed, block, 0, "audit").randrange(AUDITED)


def grades_of(archive: Archive, judgements: Sequence[Judgement]) -> list[JudgeGrade]:
    """Grade each judge by the outcomes known so far; the verifier only if one is used."""
    verified = any(entry.trust is not None for entry in archive)
    names = [name for name in JUDGES if verified or name != VERIFIER]
    return [_graded(archive, judgements, name) for name in names]


def account(archive: Archive, judgements: Sequence[Judgement]) -> Judging:
    """Summarize judgements and their outcomes."""
    decisions = [judgement.decision for judgement in judgements]
    audits = [j for j in judgements if j.decision == "audit"]
    found = [good for j in audits if (good := _came_good(archive, j)) is not None]
    return Judging(
        judged=len(decisions),
        skipped=decisions.count("skip"),
        audited=len(audits),
        known=len(found),
        good=sum(found),
        interval=wilson(sum(found), len(found)) if found else None,
        grades=tuple(grades_of(archive, judgements)),
    )


def _graded(archive: Archive, judgements: Sequence[Judgement], name: str) -> JudgeGrade:
    chances: list[float] = []
    came: list[bool] = []
    for judgement in judgements:
        good = _came_good(archive, judgement)
        if good is not None and name in judgement.forecasts:
            chances.append(judgement.forecasts[name].below(judgement.line))
            came.append(good)
    if not came:
        return JudgeGrade(name, 0, None, None, False)
    share = sum(came) / len(came)
    own = [(chance - good) ** 2 for chance, good in zip(chances, came, strict=True)]
    constant = [(share - good) ** 2 for good in came]
    used = len(came) >= OUTCOMES_NEEDED and paired_difference(own, constant).better
    count = len(came)
    return JudgeGrade(name, count, sum(own) / count, sum(constant) / count, used)


def _came_good(archive: Archive, judgement: Judgement) -> bool | None:
    """Whether a judged recipe came within reach; None until it is measured as it is."""
    entry = archive[judgement.candidate]
    if entry.duplicate_of is not None:
        return None
    outcome = outcome_of(archive, entry)
    return None if outcome is None else outcome <= judgement.line


def _grade_text(grade: JudgeGrade) -> str:
    if grade.brier is None or grade.base is None:
        return f"{grade.judge}: nothing to grade yet"
    use = "in use" if grade.used else "not used"
    return (
        f"{grade.judge}: Brier score {grade.brier:.3f} over {grade.outcomes} outcomes, the best "
        f"constant {grade.base:.3f}, {use}"
    )
