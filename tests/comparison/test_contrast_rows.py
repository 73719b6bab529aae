"""Changes against baselines: draws count, several methods are corrected for, power is stated."""

import math
from typing import Any

import numpy as np
import pytest

from autoprune.comparison.documents import details, markdown
from autoprune.comparison.formatting import protocol_lines
from autoprune.comparison.result import gather
from autoprune.errors import UsageError
from autoprune.evaluation.contrasts import holm
from tests.support.comparison_records import BASE, PROTOCOL, body, cell, moved, record

THREE = {"protocol": PROTOCOL | {"seeds": 3, "draw_digests": ["ab"] * 3}}
# Symmetric, with a sample deviation of 0.894.
NOISE = np.array([-1.0, 1.0, -1.0, 1.0, 0.0, 0.0])
TWO = {"protocol": PROTOCOL | {"seeds": 2, "draw_digests": ["ab"] * 2}}
ONE = {"protocol": PROTOCOL | {"seeds": 1, "draw_digests": ["ab"]}}


def drawn(method: str, shifts: list[float], **changes: Any) -> list[dict[str, Any]]:
    return [
        cell(method, record(moved(shift), 1.0 + shift), seed, **changes)
        for seed, shift in enumerate(shifts)
    ]


def noisy(method: str, shift: float, spread: float, selection: float = 1.0) -> dict[str, Any]:
    values = np.array(BASE) + shift + spread * NOISE
    return cell(method, record(values.tolist(), selection))


def against(found: Any, method: str, number: int = 0) -> Any:
    row = found.row(method, "50 %")
    assert row is not None
    return row.contrasts[number]


def test_draws_that_differ_make_the_interval_wider() -> None:
    """The same mean over draws: once each draw agrees, once they do not."""
    base = drawn("wanda", [0.0, 0.0, 0.0])
    same = gather(body(*base, *drawn("ria", [-0.1, -0.1, -0.1])) | THREE)
    apart = gather(body(*base, *drawn("ria", [-0.16, -0.1, -0.04])) | THREE)
    calm, moved_ = against(same, "ria"), against(apart, "ria")
    assert calm.change == pytest.approx(moved_.change)
    low, high = moved_.interval
    # Student's t with two degrees of freedom, 4.303, of three draws that deviate by 0.06.
    half = 4.3027 * 0.06 / math.sqrt(3)
    assert (low, high) == pytest.approx(
        (math.expm1(-0.1 - half), math.expm1(-0.1 + half)), rel=1e-3
    )
    assert calm.interval == pytest.approx((math.expm1(-0.1),) * 2)
    assert calm.distinguishable and not moved_.distinguishable


def test_the_verdict_is_corrected_over_the_methods_of_a_budget() -> None:
    """By itself each method looks better than Wanda; four such looks are chance."""
    names = ["ria", "gblm", "wanda+ramp", "wanda+sdsa"]
    cells = [noisy(name, -0.03 - 0.001 * n, 0.025) for n, name in enumerate(names)]
    alone = gather(body(cell("wanda", record(BASE, 1.0)), cells[0]) | ONE)
    assert against(alone, "ria").p < 0.05 and against(alone, "ria").distinguishable
    found = gather(body(cell("wanda", record(BASE, 1.0)), *cells) | ONE)
    plain = [against(found, name).p for name in names]
    assert [against(found, name).p_adjusted for name in names] == holm(plain)
    assert max(plain) < 0.05 <= min(holm(plain))
    assert not any(against(found, name).distinguishable for name in names)
    assert {against(found, name).family for name in names} == {4}
    # The interval stays that of one contrast, as the protocol says.
    assert against(found, "ria").interval[1] < 0
    assert "95 % each" in dict(protocol_lines(found))["intervals"]
    assert against(found, "ria").interval == against(alone, "ria").interval
    text = markdown(found)
    assert "(≈ −" in text and f"p {against(found, 'ria').p_adjusted:.2f}" in text


def test_the_advice_is_corrected_over_all_that_it_is_compared_with() -> None:
    others = [noisy(name, 0.03, 0.022, 1.1) for name in ("ria", "gblm", "random")]
    two = gather(body(cell("wanda", record(BASE, 1.0)), others[0]) | ONE)
    assert two.advice[0].method == "wanda" and two.advice[0].ties == ()
    assert "Against the other the sealed windows show a difference" in two.advice[0].text
    more = [noisy(name, 0.5, 0.4, 2.0) for name in ("wanda+ramp", "wanda+sdsa", "wanda+mrp")]
    many = gather(body(cell("wanda", record(BASE, 1.0)), *others, *more) | ONE)
    # The same windows as before; as one of six contrasts they are no longer enough.
    assert "ria" in many.advice[0].ties


def test_every_baseline_has_its_own_columns() -> None:
    cells = [cell("wanda", record(moved(0.0), 1.0)), cell("ria", record(moved(-0.1), 0.9))]
    cells.append(cell("sparsegpt", record(moved(-0.3), 0.7)))
    found = gather(body(*cells) | ONE | {"baselines": ["ria", "dense"]})
    assert found.baseline == "ria" and found.baselines == ("ria", "dense")
    assert against(found, "sparsegpt").change == pytest.approx(math.expm1(-0.2))
    assert against(found, "sparsegpt", 1).change == pytest.approx(math.expm1(0.2))
    assert against(found, "ria").change == 0
    head, lines = details(found, "50 %")
    assert head[2:4] == ["against ria", "against dense"]
    by_name = {line[0]: line for line in lines}
    assert by_name["sparsegpt"][2].startswith("−18.1 %") and "p < 0.001" in by_name["sparsegpt"][2]
    assert by_name["sparsegpt"][3].startswith("+22.1 %") and by_name["ria"][2] == "baseline"
    assert "against ria" in markdown(found)
    names = [name for name, _ in protocol_lines(found)]
    assert names.count("power") == 2
    row = found.to_json()["rows"][2]
    assert [entry["baseline"] for entry in row["contrasts"]] == ["ria", "dense"]
    assert row["change"] == row["contrasts"][0]["change"]
    with pytest.raises(UsageError, match=r"'gblm' is not compared; allowed are dense, wanda, ria"):
        gather(body(*cells) | {"baselines": ["gblm"]})
    # Interrupted before the baseline's turn: a table without changes, not an error.
    cut = gather(body(*cells) | {"planned": 9, "baselines": ["gblm"]})
    assert against(cut, "ria").change is None


def test_the_smallest_difference_that_could_be_seen_is_stated() -> None:
    cells = [cell("wanda", record(BASE, 1.0)), noisy("ria", 0.1, 0.05), noisy("gblm", 0.1, 0.1)]
    found = gather(body(*cells) | ONE)
    low, middle, high = found.detectable("50 %", "wanda") or (0, 0, 0)
    ria, gblm = against(found, "ria"), against(found, "gblm")
    assert (low, high) == (ria.detectable, gblm.detectable) and low < middle < high
    # Six windows, 2.5 % in each tail over two contrasts, 80 % power: t of 5 degrees of freedom.
    error = 0.05 * math.sqrt(4 / 5 / 6)
    assert ria.detectable == pytest.approx(math.expm1((3.1634 + 0.9195) * error), rel=1e-3)
    text = dict(protocol_lines(found))["power"]
    assert text.startswith("smallest change against wanda that would be found with 80 %")
    assert f"50 % {100 * middle:.1f} % ({100 * low:.1f} % to {100 * high:.1f} %)" in text
    alone = gather(body(cells[0], cells[1]) | ONE)
    assert against(alone, "ria").detectable < ria.detectable


def test_one_draw_says_that_its_interval_is_of_windows_only() -> None:
    cells = [cell("wanda", record(BASE, 1.0)), noisy("ria", 0.1, 0.05)]
    one = dict(protocol_lines(gather(body(*cells) | ONE)))["intervals"]
    assert "over windows only, as there is one draw" in one
    three = gather(body(*drawn("wanda", [0, 0.1, 0.2]), *drawn("ria", [0.1, 0.2, 0.3])) | THREE)
    assert "over windows and draws" in dict(protocol_lines(three))["intervals"]


def suite(values: list[float], metric: str = "accuracy", name: str = "text") -> dict[str, Any]:
    row = {
        "name": name, "metric": metric, "value": sum(values) / len(values), "items": values,
        "reason": "", "status": "ok",
    }  # fmt: skip
    return {"rows": [row]}


def test_figures_of_suites_are_columns_with_their_change() -> None:
    def with_suites(method: str, words: list[float], kl: float) -> dict[str, Any]:
        made = record(BASE, 1.0) | {"bytes": {"dense": 4_000_000, "compact": 2_600_000}}
        found = {"next-word": suite(words), "lm": suite([kl] * 40, "kl_to_dense")}
        return cell(method, made | {"suites": found})

    half, most = [1.0, 0.0] * 20, [1.0, 1.0, 1.0, 0.0] * 10
    cells = [with_suites("wanda", half, 1.0), with_suites("ria", most, 0.5)]
    whole = body(*cells) | ONE
    whole["dense"] = whole["dense"] | {"suites": {"next-word": suite([1.0] * 40)}}
    whole["dense"]["bytes"] = {"dense": 4_000_000, "compact": 4_000_000}
    found = gather(whole)
    assert found.columns == ["next-word accuracy", "KL to dense"]
    row = found.row("ria", "50 %")
    assert row is not None
    accuracy, distance = row.measures
    assert accuracy.value == 0.75 and accuracy.items == 40
    assert accuracy.difference == pytest.approx(0.25) and accuracy.interval[0] > 0
    assert distance.difference == pytest.approx(-0.5)
    head, lines = details(found, "50 %")
    by_name = {line[0]: dict(zip(head, line, strict=True)) for line in lines}
    assert by_name["dense"]["next-word accuracy"] == "1" and by_name["dense"]["KL to dense"] == "–"
    assert by_name["ria"]["next-word accuracy"] == "0.75 (+0.25)"
    assert by_name["ria"]["KL to dense"] == "0.5 (−0.5)"
    assert by_name["ria"]["MB dense → compact"] == "4.0 → 2.6"
    # A suite that failed is a reason, and costs no perplexity.
    cells[1]["record"]["suites"]["next-word"] = {"reason": "no such text"}
    broken = gather(body(*cells) | ONE)
    assert "ria at 50 %, next-word: unavailable: no such text" in markdown(broken)
    assert against(broken, "ria").change is not None


def with_row(method: str, items: list[float], **changes: Any) -> dict[str, Any]:
    row = suite(items)["rows"][0] | changes
    return cell(method, record(BASE, 1.0) | {"suites": {"own": {"rows": [row]}}})


def figure(*cells: dict[str, Any]) -> Any:
    row = gather(body(*cells) | ONE).row("ria", "50 %")
    assert row is not None
    (found,) = row.measures
    return found


def test_figures_of_different_protocols_are_not_compared() -> None:
    right, wrong = [1.0, 0.0] * 8, [1.0, 1.0, 1.0, 0.0] * 4
    first, second = {"version": 1}, {"version": 2}
    pairs = [(first, first, 0.25), (first, second, None)]
    for one, other, difference in pairs:
        cells = [with_row("wanda", right, protocol=one), with_row("ria", wrong, protocol=other)]
        found = figure(*cells)
        assert found.value == 0.75
        assert found.difference == (None if difference is None else pytest.approx(difference))
    # Nor are draws of one method averaged.
    draws = [
        with_row(name, right, protocol=own) | {"seed": seed}
        for name, protocols in (("wanda", (first, first)), ("ria", (first, second)))
        for seed, own in enumerate(protocols)
    ]
    row = gather(body(*draws) | TWO).row("ria", "50 %")
    assert row is not None
    (mixed,) = row.measures
    assert mixed.value is None and mixed.reason == "draws were measured by different protocols"


def test_a_perplexity_changes_by_a_share_and_not_by_nats() -> None:
    nats, more = [3.5, 3.4, 3.6, 3.5] * 2, [3.6, 3.5, 3.7, 3.6] * 2
    cells = [
        with_row(name, items, metric="perplexity", value=math.exp(sum(items) / 8))
        for name, items in (("wanda", nats), ("ria", more))
    ]
    found = figure(*cells)
    assert found.relative and found.difference == pytest.approx(math.expm1(0.1))
    assert found.interval == pytest.approx((math.expm1(0.1),) * 2)
    head, lines = details(gather(body(*cells) | ONE), "50 %")
    assert lines[-1][head.index("own perplexity")] == "36.6 (+10.5 %)"
    # Four windows that agree may do so by chance.
    cells = [with_row("wanda", [1.0] * 4), with_row("ria", [0.0] * 4)]
    head, lines = details(gather(body(*cells) | ONE), "50 %")
    assert lines[-1][head.index("own accuracy")] == "0 (≈ −1)"


def test_tasks_of_a_group_count_equally_in_value_and_change() -> None:
    sizes = {"strata": [2, 8]}
    before = with_row("wanda", [0.0, 0.0] + [1.0] * 8, value=0.5, details=sizes)
    after = with_row("ria", [1.0, 1.0] + [1.0, 0.0] * 4, value=0.75, details=sizes)
    # +1 in the small task and -0.5 in the large one.
    assert figure(before, after).difference == pytest.approx(0.25)


def test_runs_of_two_models_are_not_paired() -> None:
    runs = {"details": {"items_are_runs": True}, "metric": "tokens_per_second"}
    found = figure(
        with_row("wanda", [9.0, 9.1, 9.2], **runs), with_row("ria", [8.0, 8.1, 8.2], **runs)
    )
    assert found.value == pytest.approx(8.1)
    assert found.difference is None and found.p_adjusted is None


def test_two_filters_of_a_task_are_two_columns() -> None:
    made = suite([1.0, 0.0], "exact_match", "gsm8k")["rows"][0]
    rows = [made | {"protocol": {"filter": name}} for name in ("strict-match", "flexible-extract")]
    cells = [cell("wanda", record(BASE, 1.0) | {"suites": {"tasks": {"rows": rows}}})]
    assert gather(body(*cells) | ONE).columns == [
        "gsm8k exact match strict-match", "gsm8k exact match flexible-extract",
    ]  # fmt: skip


def test_tables_of_a_program_need_no_file_of_it() -> None:
    products = {"protocol": ONE["protocol"] | {"products": "float32"}}
    for tuned in ("program:gone.py+ebft", "wanda+ebft@own", "wanda+recover:steps=3@own"):
        cells = [cell(name, record(BASE, 1.0)) for name in ("wanda", tuned)]
        lines = dict(protocol_lines(gather(body(*cells) | products)))
        assert "products float32" in lines["rounding"], tuned
    plain = gather(body(cell("wanda", record(BASE, 1.0))) | products)
    assert "rounding" not in dict(protocol_lines(plain))
