"""A cell of a comparison whose method skips experts while the model runs."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel

from autoprune.comparison import cell_keys
from autoprune.comparison.bench import ComparisonBench
from autoprune.comparison.cell_keys import cell_key, scheme_versions
from autoprune.comparison.cells import CellStore
from autoprune.comparison.measure_cells import found_or_measured
from autoprune.comparison.methods import parse_method
from autoprune.comparison.plan import Cell, Target
from autoprune.comparison.scheme_cells import UNITS, same_removed, shrunk
from autoprune.comparison.suites import NO_COST, measure_suites
from autoprune.digest import windows_digest
from autoprune.errors import UsageError
from autoprune.repair import Repair
from tests.support.bench_comparison import Comparisons
from tests.support.tiny_subject import save_subject, tiny_place, tiny_subject
from tests.support.upcycled import upcycled

SMALL = {"generators": ["digits"], "items": 2, "shots": 0, "new_tokens": 2}


def bench_of(folder: Path, model: PreTrainedModel) -> ComparisonBench:
    _, text = tiny_place(folder)
    saved = save_subject(replace(tiny_subject(), model=model), folder / "subject")
    return Comparisons(saved, text, folder / "kept").bench(selection_windows=2, sealed_windows=2)


def test_only_schemes_whose_figures_changed_have_a_version_in_their_keys() -> None:
    assert scheme_versions(parse_method("depth+width")) == {"schemes": {"depth": 2, "width": 1}}
    for text in ("skip", "experts", "wanda+mrp"):
        assert scheme_versions(parse_method(text)) == {}, text
    assert scheme_versions(None) == {}


def test_the_text_of_a_recovery_beyond_its_draw_stands_in_the_key(tmp_path: Path) -> None:
    with bench_of(tmp_path, tiny_subject().model) as bench:
        recovery = "recover:steps=2,batch=1"
        count = Repair.parse(recovery).fresh_windows
        for text in (f"depth+{recovery}", f"wanda+{recovery}"):
            cell = Cell(parse_method(text), Target(0.5))
            before = cell_key(bench, cell)
            fresh = bench.fresh_windows(count)
            assert fresh is not None and before["fresh"] == windows_digest(fresh)
            fresh[-1, -1] += 1
            after = cell_key(bench, cell)
            assert after["fresh"] != before["fresh"] and after["draw"] == before["draw"]
        for text in ("depth", "wanda", "wanda+ebft"):
            assert "fresh" not in cell_key(bench, Cell(parse_method(text), Target(0.5)))


def test_what_was_skipped_while_it_was_measured_stands_in_the_cell(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, upcycled(tiny_subject().model, 4, noise=0.5))
    with bench:
        skip = Cell(parse_method("skip"), Target(0.25))
        record, known = found_or_measured(bench, skip)
        # Two blocks, two experts of a token, two windows of each part.
        found = re.match(r"([0-9.]+)% of 512 expert computations skipped", record["notes"][0])
        assert "schemes" not in cell_key(bench, skip)
        assert not known and found is not None and 5.0 < float(found[1]) < 45.0
        dense, _ = found_or_measured(bench, Cell(None, None))
        losses = [cell["sealed"]["nll"] for cell in (dense, record)]
        assert losses[0] != losses[1] and record["bytes"] == dense["bytes"]
        # The kept cell says so too, also where suites followed.
        bench.suites = [{"name": "reasoning", "settings": SMALL}]
        bench.cells = CellStore(tmp_path / "with suites")
        again, _ = found_or_measured(bench, skip)
        kept = bench.cells.find(cell_key(bench, skip))
        assert again["suites"]["reasoning"]["rows"] and kept is not None
        assert kept["notes"] == again["notes"] and "computations skipped" in kept["notes"][0]
        bench.suites = []
        # Nothing of it stays behind.
        bench.cells = CellStore(tmp_path / "others")
        assert found_or_measured(bench, Cell(None, None))[0]["sealed"]["nll"] == losses[0]


def test_what_skips_while_it_runs_has_no_cost_and_says_what_it_learnt(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, upcycled(tiny_subject().model, 4, noise=0.5))
    bench.suites = [{"name": "cost", "settings": {}}]
    found = list[dict[str, Any]]()
    with bench:
        for share in (0.25, 0.25, 0.5):
            with shrunk(bench, Cell(parse_method("skip"), Target(share))) as record:
                found.append(dict(record))
                made = measure_suites(bench, ["cost"], "look", (), lambda _: None)
    assert made == {"cost": {"reason": NO_COST}}
    first, again, other = found
    assert len(first["facts"]["skip"]["betas"]) == 2
    # Its thresholds are what it decides.
    assert same_removed(first, again) and not same_removed(first, other)


def test_as_many_other_units_are_not_what_was_removed(tmp_path: Path) -> None:
    bench, found = bench_of(tmp_path, tiny_subject().model), list[dict[str, Any]]()
    with bench:
        for score in ("magnitude", "magnitude", "random"):
            method = parse_method(f"width:parts=mlp,fit=false,score={score}")
            with shrunk(bench, Cell(method, Target(0.25))) as record:
                found.append(dict(record))
    first, again, other = found
    assert same_removed(first, again) and not same_removed(first, other)
    # A cell of an earlier version holds how many alone.
    assert first["mask_digest"] == other["mask_digest"]
    assert same_removed(first, {"mask_digest": other["mask_digest"]})
    assert not same_removed(first, {"mask_digest": "another"})


def test_a_scheme_is_measured_in_its_real_shape_beside_a_recipe(
    compared: Comparisons, tmp_path: Path
) -> None:
    methods = "depth:criterion=random,patch=none,protect=none,magnitude"
    result = compared(methods, draws=1, units={"bytes": [0.2]})
    rows = {row["method"]: row for row in result["rows"] if row["target"] == "50 %"}
    scheme, recipe = (row for row in result["rows"] if row["target"] == "20 % of the bytes")
    assert scheme["dense_bytes"] <= 0.81 * rows["magnitude"]["dense_bytes"]
    assert recipe["status"] == "unavailable" and "zeros bring neither" in recipe["reason"]
    scheme = rows.pop("depth:criterion=random,protect=none,patch=none")
    assert scheme["zeros"] == 0 and scheme["seeds"] == 1
    assert scheme["dense_bytes"] < rows["magnitude"]["dense_bytes"]
    # What came after it met the dense model again.
    again = replace(compared, folder=tmp_path / "another")("magnitude", draws=1)
    assert again["measured"] == 2
    assert again["rows"][-1]["perplexity"] == rows["magnitude"]["perplexity"]
    with pytest.raises(UsageError, match="pattern of zeros"):
        _ = Target(0.5, "2:4").budget


def test_a_budget_in_speed_is_timed_alone_and_kept_for_this_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of(tmp_path, tiny_subject().model)
    depth = parse_method("depth:criterion=magnitude,patch=none")
    targets = (Target(1.3, "faster"), Target(0.2, "bytes"), Target(0.25))

    def keys() -> list[str]:
        return [json.dumps(cell_key(bench, Cell(depth, target))) for target in targets]

    with bench:
        here = keys()
        monkeypatch.setattr(cell_keys, "hardware", lambda: {"processor": "z", "threads": 64})
        there = keys()
    assert [a == b for a, b in zip(here, there, strict=True)] == [False, True, True]
    # Cells that were kept before stay valid.
    assert ["machine" in key for key in here] == [True, False, False]


def test_a_scheme_without_chance_removes_the_same_under_every_seed() -> None:
    one = {"mask_digest": "of seed 0", UNITS: "blocks 1 and 2"}
    assert same_removed(one | {"mask_digest": "of seed 1"}, one)
    assert not same_removed(one | {UNITS: "blocks 1 and 3"}, one)
    earlier = {"mask_digest": "of seed 0"}
    assert same_removed(one, earlier)
    assert not same_removed(one | {"mask_digest": "of seed 1"}, earlier)
