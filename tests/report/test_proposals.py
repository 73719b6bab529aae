"""What each way to propose brought, in the record and in the report."""

from dataclasses import replace

from autoprune.report.data import ReportEntry
from autoprune.report.html import render
from autoprune.report.proposals import Proposals, proposals
from tests.support.sample_run import make_report


def entry(
    name: str, perplexity: float | None, operator: str, order: int, **more: object
) -> ReportEntry:
    fields = {"operator": operator, "order": order, "tokens": 100, "seconds": 2.0}
    kind = "candidate" if order else "baseline"
    return ReportEntry(name, name, kind, "W", perplexity=perplexity, **(fields | more))  # type: ignore[arg-type]


ENTRIES = (
    entry("start", 50.0, "", 0),
    entry("behind the start", 51.0, "exploit", 1),
    entry("first best", 48.0, "mutate", 2, tokens=0),
    entry("stopped", 1.0, "mutate", 3, tokens=0, verdict="stopped"),
    entry("again", None, "exploit", 4, verdict="rejected", code="duplicate"),
    entry("wrong", None, "exploit", 5, verdict="rejected", code="nan_scores"),
    # Later in the leaderboard, earlier in the search than what beats it.
    entry("last best", 46.0, "exploit", 7),
    entry("behind the first best", 47.0, "exploit", 8, model="small"),
    entry("second best", 47.5, "exploit", 6),
)


def test_each_operator_and_model_is_counted_in_order_of_its_first_recipe() -> None:
    report = replace(make_report(), entries=ENTRIES)
    assert proposals(report) == [
        Proposals("exploit", 5, 1, 1, 3, 2, 500, 10.0),
        Proposals("mutate", 2, 0, 0, 1, 1, 0, 4.0),
        Proposals("exploit by small", 1, 0, 0, 1, 0, 100, 2.0),
    ]


def test_the_report_shows_them_and_nothing_without_candidates() -> None:
    page = render(replace(make_report(), entries=ENTRIES))
    table = page.partition('id="h-proposals"')[2].partition("</table>")[0]
    places = [table.find(text) for text in (">exploit<", ">500<", ">mutate<", ">–<", "by small<")]
    assert places == sorted(places) and places[0] > 0
    assert 'id="h-proposals"' not in render(replace(make_report(), entries=ENTRIES[:1]))
