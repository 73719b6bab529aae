"""The Pareto front of perplexity and seconds, in the record, the report and MLflow's tags."""

from dataclasses import replace

from autoprune.report.data import ReportEntry
from autoprune.report.front import front
from autoprune.report.gathering import _ranked
from autoprune.report.page import page
from tasks.track.runs import _entry_tags
from tests.support.sample_run import make_report


def entry(name: str, perplexity: float | None, seconds: float, **more: str) -> ReportEntry:
    return ReportEntry(name, name, "candidate", "W", perplexity=perplexity, seconds=seconds, **more)  # type: ignore[arg-type]


ENTRIES = [
    entry("slow and best", 10.0, 90.0),
    entry("beaten in both", 40.0, 50.0),
    entry("fast", 30.0, 5.0),
    entry("as slow as fast, worse", 31.0, 5.0),
    entry("as good as fast, slower", 30.0, 6.0),
    entry("middle", 20.0, 40.0),
    entry("stopped early", 1.0, 1.0, verdict="stopped"),
    entry("not timed", 1.0, 0.0),
    entry("not finite", float("inf"), 0.5),
]


def test_the_front_holds_what_nothing_beats_in_both_fastest_first() -> None:
    assert [one.alias for one in front(ENTRIES)] == ["fast", "middle", "slow and best"]
    marked = {one.alias for one in _ranked(ENTRIES) if one.front}
    assert marked == {"fast", "middle", "slow and best"}


def test_the_report_and_mlflow_say_which_are_on_it() -> None:
    report = make_report()
    text = page(replace(report, entries=_ranked(ENTRIES)), {})
    assert text.count("(fastest of its quality)") == 3
    on, off = _ranked(ENTRIES)[:2]
    tags = [_entry_tags(one)["autoprune.front"] for one in (on, off)]
    assert tags == ["perplexity and seconds", ""]
