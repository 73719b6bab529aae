"""A cell of a comparison whose method skips experts while the model runs."""

import re
from dataclasses import replace
from pathlib import Path

from autoprune.comparison.cells import CellStore
from autoprune.comparison.methods import parse_method
from autoprune.comparison.plan import Cell, Target
from tasks.compare_bench import CompareBench
from tasks.compare_cells import cell_key, found_or_measured
from tasks.compare_scheme import scheme_versions
from tasks.state import State
from tasks.workbench import opened
from tests.support.tiny_subject import save_subject, tiny_place, tiny_subject
from tests.support.upcycled import upcycled


def test_only_schemes_whose_figures_changed_have_a_version_in_their_keys() -> None:
    assert scheme_versions(parse_method("router:steps=0")) == {"schemes": {"router": 1}}
    for text in ("skip", "depth+width", "rotate+recover", "experts", "wanda+mrp"):
        assert scheme_versions(parse_method(text)) == {}, text
    assert scheme_versions(None) == {}


def test_what_was_skipped_while_it_was_measured_stands_in_the_cell(tmp_path: Path) -> None:
    _, text = tiny_place(tmp_path)
    subject = tiny_subject()
    mixture = replace(subject, model=upcycled(subject.model, 4, noise=0.5))
    folder = save_subject(mixture, tmp_path / "mixture")
    bench = CompareBench(
        str(folder), State.open(tmp_path / "state"), corpus=str(text), samples=4, seqlen=32,
        counts={"selection": 2, "sealed": 2},
    )  # fmt: skip
    with opened(bench):
        skip = Cell(parse_method("skip"), Target(0.25))
        record, known = found_or_measured(bench, skip)
        # Two blocks, two experts of a token, two windows of each part.
        found = re.match(r"([0-9.]+)% of 512 expert computations skipped", record["notes"][0])
        assert "schemes" not in cell_key(bench, skip)
        router = cell_key(bench, replace(skip, method=parse_method("router")))
        assert router["schemes"] == {"router": 1}
        assert not known and found is not None and 5.0 < float(found[1]) < 45.0
        dense, _ = found_or_measured(bench, Cell(None, None))
        losses = [cell["sealed"]["nll"] for cell in (dense, record)]
        assert losses[0] != losses[1] and record["bytes"] == dense["bytes"]
        # Nothing of it stays behind.
        bench.cells = CellStore(tmp_path / "others")
        assert found_or_measured(bench, Cell(None, None))[0]["sealed"]["nll"] == losses[0]
