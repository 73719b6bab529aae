"""Further figures of a cell, kept like the cell itself."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.checkpoint.compact import write_compact
from autoprune.comparison.bench import ComparisonBench
from autoprune.comparison.recorded_tables import tables_of_record
from autoprune.comparison.sizes import saved_bytes
from autoprune.comparison.suites import defaults_for, suite_defaults, suite_keys
from autoprune.evaluation.kl import dense_predictions, kl_to_dense
from autoprune.evaluation.suites import build_suite, computed_with, cost, suite_requests
from autoprune.evaluation.suites.cost import CostSuite
from autoprune.evaluation.suites.reasoning import ReasoningSuite
from autoprune.evaluation.suites.rows import PASSING, Row
from autoprune.models.loading import load_model
from autoprune.models.structure import prunable_linears
from tests.support.bench_comparison import Comparisons, measures
from tests.support.tiny_subject import tiny_subject

REASONING = "reasoning:generators=digits,items=3,shots=0,new_tokens=2"
COST = "cost:batches=1,prompt=8,new=2,repeats=1"


Compared = Callable[..., dict[str, Any]]


@pytest.fixture
def compared(compared: Comparisons) -> Compared:
    return partial(compared, draws=1)


@pytest.fixture(autouse=True)
def memory_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is measured in a process that takes seconds to start, for every cell."""
    monkeypatch.setattr(cost, "peaks_alone", lambda _, __, batches, *___: [1e8] * len(batches))


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("measured again")


def test_suites_are_columns_kept_like_every_cell(
    compared: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = compared("wanda,magnitude")
    assert plain["dense_measures"] == [] and not measures(plain, "wanda")
    suites = f"lm,{REASONING}"
    first = compared("wanda,magnitude", suite=suites, record=tmp_path / "r")
    # Pruned again, but the losses that were known are found, and are the same.
    for name in ("wanda", "magnitude"):
        found = measures(first, name)
        assert found.keys() == {"KL to dense", "reasoning accuracy"}
        assert found["KL to dense"]["value"] > 0 and found["KL to dense"]["items"] == 4
        assert found["reasoning accuracy"]["items"] == 3
    assert [row["perplexity"] for row in first["rows"]] == [
        row["perplexity"] for row in plain["rows"]
    ]
    (dense,) = first["dense_measures"]
    assert dense["column"] == "reasoning accuracy"
    head, lines = first["details"]["50 %"]
    assert head[2:5] == ["against wanda", "KL to dense", "reasoning accuracy"]
    assert lines[0][0] == "dense" and lines[0][3] == "–"

    with monkeypatch.context() as patch:
        patch.setattr(ReasoningSuite, "run", never)
        patch.setattr(ComparisonBench, "evaluate", never)
        again = compared("wanda,magnitude", suite=suites)
        assert (again["measured"], again["cached"]) == (0, 3)
        assert again["rows"] == first["rows"]
    # One more suite costs that suite only.
    real, run = ReasoningSuite.run, []

    def counted(suite: ReasoningSuite, *given: Any, **named: Any) -> list[Row]:
        run.append(suite.generators)
        return real(suite, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(ReasoningSuite, "run", counted)
        patch.setattr(ComparisonBench, "evaluate", never)
        other = REASONING.replace("digits", "digits+chain")
        compared("wanda", suite=f"lm,{other}")
    assert run == [("digits", "chain")] * 2
    # From the record alone the same columns.
    read_back = tables_of_record(str(tmp_path / "r"), None, None)
    assert read_back["details"] == first["details"]


def test_the_distance_is_that_of_the_pruned_model_on_the_sealed_windows(
    compared: Compared, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, dict[str, Any]]] = []
    real = ComparisonBench.evaluate

    def watching(bench: ComparisonBench, part: str, *, kl: bool = False) -> Any:
        if kl:
            weights = [layer.read().clone() for layer in bench.layers]
            seen.append((bench.part(part), dict(enumerate(weights))))
        return real(bench, part, kl=kl)

    monkeypatch.setattr(ComparisonBench, "evaluate", watching)
    result = compared("wanda", suite="lm")
    ((windows, weights),) = seen
    loaded = load_model(str(tiny_folder))
    wanted = dense_predictions(loaded.model, windows)
    for number, layer in enumerate(prunable_linears(loaded.model)):
        layer.write(weights[number])
    items = kl_to_dense(loaded.model, wanted)
    assert measures(result, "wanda")["KL to dense"]["value"] == pytest.approx(sum(items) / 4)


def test_the_suite_cost_gives_columns_beside_the_perplexity(compared: Compared) -> None:
    smaller = "depth:criterion=magnitude,protect=none,patch=none"
    found = compared(f"wanda,{smaller}", suite=COST)
    dense = {entry["column"]: entry for entry in found["dense_measures"]}
    figures = measures(found, smaller)
    # A generation may be timed as no longer than its prompt.
    assert {"cost prefill", "batch 1 decode", "cost peak memory"} <= figures.keys()
    assert figures["cost prefill"]["value"] > 0 and figures["cost prefill"]["items"] == 1
    for column in ("cost parameters", "dense size"):
        assert figures[column]["value"] < dense[column]["value"]
        assert measures(found, "wanda")[column]["value"] == dense[column]["value"]
    head, _ = found["details"]["50 %"]
    assert head.index("sealed perplexity") < head.index("dense size") < head.index("cost prefill")


def test_a_suite_that_fails_costs_no_perplexity_and_is_tried_again(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ReasoningSuite, "run", lambda *_, **__: 1 / 0)
        broken = compared("wanda", suite=f"lm,{REASONING}")
    assert broken["rows"][0]["perplexity"] is not None
    assert any("division by zero" in line for line in broken["missing"])
    lost = Row(
        "reasoning", "boolq", "acc", None, status="unavailable", reason="no network",
        details={PASSING: True},
    )  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(ReasoningSuite, "run", lambda *_, **__: [lost, lost])
        offline = compared("wanda", suite=f"lm,{REASONING}")
    assert offline["missing"] == ["wanda at 50 %, reasoning: unavailable: no network"]
    # One row of several is missing: the others are shown, and all are measured again.
    with monkeypatch.context() as patch:
        real = ReasoningSuite.run
        patch.setattr(ReasoningSuite, "run", lambda *a, **k: [*real(*a, **k), lost])
        partly = compared("wanda", suite=f"lm,{REASONING}")
    assert measures(partly, "wanda")["reasoning accuracy"]["value"] is not None
    assert partly["missing"] == ["wanda at 50 %, reasoning acc: unavailable: no network"]
    assert "KL to dense" in partly["details"]["50 %"][0]
    repeated = compared("wanda", suite=f"lm,{REASONING}")
    assert repeated["measured"] == 2
    assert measures(repeated, "wanda")["reasoning accuracy"]["value"] is not None
    assert not repeated["missing"]


def test_what_was_measured_before_a_suite_was_killed_is_kept(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> Any:
        # Like Ctrl-C, it is no failure of the suite.
        raise KeyboardInterrupt

    suites = f"{REASONING},{COST}"
    with monkeypatch.context() as patch:
        patch.setattr(CostSuite, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            compared("wanda", suite=suites)
    # The dense model's losses and its first suite.
    losses, reasoning = ComparisonBench.evaluate, ReasoningSuite.run
    measured: list[str] = []

    def evaluated(bench: ComparisonBench, part: str, *, kl: bool = False) -> Any:
        measured.append(part)
        return losses(bench, part, kl=kl)

    def run(*given: Any, **named: Any) -> list[Row]:
        measured.append("reasoning")
        return reasoning(*given, **named)

    monkeypatch.setattr(ComparisonBench, "evaluate", evaluated)
    monkeypatch.setattr(ReasoningSuite, "run", run)
    whole = compared("wanda", suite=suites)
    assert measured == ["selection", "sealed", "reasoning"] and whole["failed"] == 0
    assert measures(whole, "wanda")["reasoning accuracy"]["items"] == 3


def test_timings_are_measured_again_on_another_machine(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compared("magnitude", suite=COST)["measured"] == 2
    assert compared("magnitude", suite=COST)["measured"] == 0
    monkeypatch.setattr(cost, "hardware", lambda: {"processor": "another", "threads": 64})
    assert compared("magnitude", suite=COST)["measured"] == 2


def test_kept_figures_stand_when_pruning_again_for_a_suite_fails(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = compared("wanda")
    with monkeypatch.context() as patch:
        patch.setattr(ComparisonBench, "prune_by", lambda *_: 1 / 0)
        broken = compared("wanda", suite=REASONING)
    assert broken["rows"][0]["perplexity"] == plain["rows"][0]["perplexity"]
    (line,) = broken["missing"]
    assert line.startswith("wanda at 50 %, reasoning: unavailable:") and "by zero" in line
    whole = compared("wanda", suite=REASONING)
    assert not whole["missing"] and measures(whole, "wanda")["reasoning accuracy"]["items"] == 3


@pytest.mark.parametrize("name", ["reasoning", "live"])
def test_a_suite_is_another_when_its_grader_has_changed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {}
    if name == "live":
        items = tmp_path / "items.jsonl"
        items.write_text('{"question": "?", "answer": "1", "date": "2024-01-01"}')
        settings = {"items": str(items)}
    before = computed_with(build_suite(name, **settings))
    monkeypatch.setattr(f"autoprune.evaluation.suites.{name}.GRADER_VERSION", "another")
    assert computed_with(build_suite(name, **settings)) != before


def test_a_suite_is_another_when_a_file_that_it_names_has_changed(
    compared: Compared, text_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text(text_file.read_text().replace("a", "o"))
    suite = f"lm:corpora={other},windows=2,seqlen=32"
    first = compared("wanda", suite=suite)
    assert compared("wanda", suite=suite)["measured"] == 0
    other.write_text(text_file.read_text().replace("e", "i"))
    second = compared("wanda", suite=suite)
    assert (second["measured"], second["rows"] != first["rows"]) == (2, True)


def test_another_text_is_measured_whole_and_the_own_one_sealed() -> None:
    asked = "lm:corpora=other.txt,windows=2,lastword:corpora=own.txt,degenerate"
    found = defaults_for(asked, suite_defaults("model", "own.txt", 4, 32, 7))
    made = {one["name"]: one["settings"] for one in suite_requests(asked, found)}
    assert (made["lm"]["part"], made["lm"]["text_split"], made["lm"]["windows"]) == ("all", 0, 2)
    for name in ("lastword", "degenerate"):
        assert (made[name]["part"], made[name]["text_split"]) == ("sealed", 7)


def test_bytes_are_those_of_the_saved_folder_and_its_compact_form(
    compared: Compared, tiny_folder: Path, tmp_path: Path
) -> None:
    result = compared("magnitude", sparsity=(0.7,))
    (row,) = result["rows"]
    loaded = load_model(str(tiny_folder))
    layers = prunable_linears(loaded.model)
    values = torch.cat([layer.read().abs().flatten() for layer in layers])
    assert saved_bytes(loaded)["dense"] == result["dense_bytes"] == row["dense_bytes"]
    limit = values.sort().values[int(0.7 * len(values))]
    for layer in layers:
        # Not by a product, which leaves negative zeros, and those are values.
        layer.write(torch.where(layer.read().abs() >= limit, layer.read(), 0.0))
    loaded.model.save_pretrained(tmp_path / "dense")
    size = write_compact(tmp_path / "dense", tmp_path / "compact")
    found = saved_bytes(loaded)
    # The headers of the files come on top.
    header = size.dense_bytes - found["dense"]
    assert 0 < header < 8192 and 0 < size.compact_bytes - found["compact"] < 3 * 8192
    assert found["compact"] == pytest.approx(row["compact_bytes"], rel=1e-3)
    assert row["compact_bytes"] < 0.7 * row["dense_bytes"]
    cells = "".join(line for rows in result["details"].values() for line in rows[1][1])
    assert f"{row['dense_bytes'] / 1e6:.1f} → {row['compact_bytes'] / 1e6:.1f}" in cells


def test_a_suite_is_another_by_another_dense_model_or_template(
    tiny_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    model, dense = (Path(shutil.copytree(tiny_folder, tmp_path / name)) for name in "md")
    names = ("lm", "reasoning")

    def keys() -> dict[str, Any]:
        comparisons = Comparisons(model, text_file, tmp_path / "kept")
        with comparisons.bench(f"lm:dense={dense},reasoning") as bench:
            return suite_keys(bench, {"method": {}})

    first = keys()
    assert keys() == first
    tiny_subject(seed=1).model.save_pretrained(dense)
    second = keys()
    assert [second[name] == first[name] for name in names] == [False, True]
    (model / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    third = keys()
    assert [third[name] == second[name] for name in names] == [False, False]
