"""A cell of a comparison whose method skips experts while the model runs."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import PreTrainedModel

from autoprune.comparison.cells import CellStore
from autoprune.comparison.methods import parse_method
from autoprune.comparison.plan import Cell, Target
from benchmarks.upcycled import upcycled
from flows.compare.params import CompareParams
from tasks import compare_cells
from tasks.compare_bench import CompareBench
from tasks.compare_cells import cell_key, found_or_measured
from tasks.compare_scheme import same_removed, scheme_versions, shrunk
from tasks.state import State
from tasks.workbench import opened
from tests.support.tiny_subject import save_subject, tiny_place, tiny_subject

SMALL = {"generators": ["digits"], "items": 2, "shots": 0, "new_tokens": 2}


def bench_of(folder: Path, model: PreTrainedModel) -> CompareBench:
    _, text = tiny_place(folder)
    saved = save_subject(replace(tiny_subject(), model=model), folder / "subject")
    return CompareBench(
        str(saved), State.open(folder / "state"), corpus=str(text), samples=4, seqlen=32,
        counts={"selection": 2, "sealed": 2},
    )  # fmt: skip


def test_only_schemes_whose_figures_changed_have_a_version_in_their_keys() -> None:
    assert scheme_versions(parse_method("router:steps=0")) == {"schemes": {"router": 2}}
    assert scheme_versions(parse_method("depth+width")) == {"schemes": {"depth": 1}}
    for text in ("skip", "width", "rotate+recover", "experts", "wanda+mrp"):
        assert scheme_versions(parse_method(text)) == {}, text
    assert scheme_versions(None) == {}


def test_what_was_skipped_while_it_was_measured_stands_in_the_cell(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, upcycled(tiny_subject().model, 4, noise=0.5))
    with opened(bench):
        skip = Cell(parse_method("skip"), Target(0.25))
        record, known = found_or_measured(bench, skip)
        # Two blocks, two experts of a token, two windows of each part.
        found = re.match(r"([0-9.]+)% of 512 expert computations skipped", record["notes"][0])
        assert "schemes" not in cell_key(bench, skip)
        router = cell_key(bench, replace(skip, method=parse_method("router")))
        assert router["schemes"] == {"router": 2}
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


def test_as_many_other_units_are_not_what_was_removed(tmp_path: Path) -> None:
    bench, found = bench_of(tmp_path, tiny_subject().model), list[dict[str, Any]]()
    with opened(bench):
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


def test_a_budget_in_speed_is_timed_alone_and_kept_for_this_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError, match=r"faster 1.2,1.5 is timed .* workers of dask"):
        CompareParams.model_validate({"faster": [1.2, 1.5], "runner": "dask"})
    folder, text = tiny_place(tmp_path)
    counts = {"selection": 2, "sealed": 2}
    bench = CompareBench(
        str(folder), State.open(tmp_path / "state"), corpus=str(text), samples=4, seqlen=32,
        counts=counts,
    )  # fmt: skip
    depth = parse_method("depth:criterion=magnitude,patch=none")
    targets = (Target(1.3, "faster"), Target(0.2, "bytes"), Target(0.25))

    def keys() -> list[str]:
        return [json.dumps(cell_key(bench, Cell(depth, target))) for target in targets]

    with opened(bench):
        here = keys()
        monkeypatch.setattr(compare_cells, "hardware", lambda: {"processor": "z", "threads": 64})
        there = keys()
    assert [a == b for a, b in zip(here, there, strict=True)] == [False, True, True]
    # Cells that were kept before stay valid.
    assert ["machine" in key for key in here] == [True, False, False]
