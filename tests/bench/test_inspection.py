"""What an inspection says of a model, and that it leaves the model as it is."""

import json
import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from autoprune.bench import inspection
from autoprune.bench.bench import Bench
from autoprune.bench.inspection import (
    Inspection,
    chosen_blocks,
    effective_rank,
    inspect_on,
    kurtosis,
)
from autoprune.bench.text import SELECTION, BenchText
from autoprune.design.chat import ChatRequest
from autoprune.design.given import read_facts
from autoprune.design.transports import ScriptedDesigner
from autoprune.errors import UsageError
from autoprune.models.loading import LoadedModel
from autoprune.models.structure import PrunableLinear
from autoprune.recipe import Recipe
from autoprune.report.inspection_plot import inspection_png
from autoprune.search import Search, SearchSpec
from autoprune.storage import write_json
from autoprune.store import Store
from flows.search.params import SearchParams
from tests.support.synthetic import Synthetic, drive, make_spec, write_answer
from tests.support.tiny_models import random_windows, tiny_model
from tests.support.tiny_subject import tiny_subject


def bench_of(subject: LoadedModel, folder: Path) -> Bench:
    bench = Bench("tiny", Store(folder), BenchText("text", 12, {"calibration": 3, "selection": 2}))
    bench.loaded = subject
    bench.windows = {"calibration": random_windows(3), "selection": random_windows(2, seed=1)}
    return bench


def heaviest(found: Inspection, layer: PrunableLinear) -> inspection.MatrixFacts:
    return next(matrix for matrix in found.matrices if matrix.name == layer.name)


def test_damage_of_everything_alone_is_that_of_the_pruned_model(tmp_path: Path) -> None:
    with bench_of(tiny_subject(), tmp_path) as bench:
        before = [layer.read().clone() for layer in bench.layers]
        found = inspect_on(bench, 0.6, "last")
        after = [layer.read() for layer in bench.layers]
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        # By hand: the same masks as a recipe makes, of one matrix, one kind, one block.
        dense = bench.evaluate(SELECTION).nll
        with bench.pruned(Recipe.parse("wanda"), 0.6):
            pruned = {layer.name: layer.read().clone() for layer in bench.layers}

        def rise(names: list[str]) -> float:
            with bench.dense:
                for layer in bench.layers:
                    if layer.name in names:
                        layer.write(pruned[layer.name])
                nll = bench.evaluate(SELECTION).nll
            return sum(nll) / len(nll) - sum(dense) / len(dense)

        for matrix in found.matrices:
            wanted = rise([matrix.name]) if matrix.block == 1 else None
            assert matrix.damage == (wanted if wanted is None else pytest.approx(wanted, abs=1e-6))
        kinds = {layer.projection for layer in bench.layers}
        assert set(found.kinds) == kinds and set(found.blocks) == {1}
        names = [layer.name for layer in bench.layers if layer.projection == "up_proj"]
        assert found.kinds["up_proj"] == pytest.approx(rise(names), abs=1e-6)
        names = [layer.name for layer in bench.layers if layer.block == 1]
        assert found.blocks[1] == pytest.approx(rise(names), abs=1e-6)
        worst = max(found.kinds, key=lambda kind: found.kinds[kind])
        assert f" {worst} alone in all blocks" in found.facts[0]
        assert len(found.facts) == len(kinds) + 1


def test_a_planted_heavy_matrix_stands_out(tmp_path: Path) -> None:
    subject = tiny_subject()
    with bench_of(subject, tmp_path) as bench:
        layer = bench.layers[3]
        with torch.no_grad():
            layer.read().flatten()[::97] *= 30.0
        found = inspect_on(bench, 0.5, "0")
        own = heaviest(found, layer)
        for name in ("skew", "kurtosis", "score_skew", "score_kurtosis"):
            values = [getattr(matrix, name) for matrix in found.matrices]
            assert getattr(own, name) == max(values), name
        assert own.outliers > 0.005 and found.matrices[0].outliers == 0.0
        assert all(0.0 < matrix.effective_rank <= 1.0 for matrix in found.matrices)
        assert inspection_png(found).startswith(b"\x89PNG")
        path = tmp_path / "inspection.json"
        write_json(path, found.to_json())
        assert read_facts(path) == found.facts
        kept = json.loads(path.read_text())
        assert kept["matrices"][3]["shape"] == list(layer.shape)
        assert Inspection.from_json(kept) == found
        assert Inspection.from_json({"facts": kept["facts"]}) is None


def test_shapes_of_known_matrices() -> None:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(400, 400, generator=generator)
    assert kurtosis(normal) == pytest.approx(3.0, abs=0.05)
    assert kurtosis(torch.full((4, 4), 2.0)) == 0.0
    assert effective_rank(torch.ones(7)) == pytest.approx(7.0)
    assert effective_rank(torch.tensor([1e-12, 1.0])) == pytest.approx(1.0, abs=1e-4)
    # Singular values 3 and 1: shares 3/4 and 1/4.
    wanted = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert effective_rank(torch.tensor([1.0, 9.0])) == pytest.approx(wanted)


@pytest.mark.parametrize("family", ["gpt2", "mixtral", "opt", "mamba"])
def test_other_families_have_facts_too(family: str, tmp_path: Path) -> None:
    subject = tiny_subject()
    other = LoadedModel(tiny_model(family), subject.tokenizer, subject.source)
    with bench_of(other, tmp_path) as bench:
        found = inspect_on(bench, 0.5, "first")
        assert len(found.matrices) == len(bench.layers)
        assert all(math.isfinite(nats) for nats in found.kinds.values())


def test_blocks_are_named_or_numbered() -> None:
    assert chosen_blocks("first,middle,last", 30) == [0, 15, 29]
    assert chosen_blocks("last, 3", 5) == [3, 4] and chosen_blocks("all", 3) == [0, 1, 2]
    for wrong, hint in (("30", "from 0 to 29"), ("-1", "first"), ("", "names no block")):
        with pytest.raises(UsageError, match=hint):
            chosen_blocks(wrong, 30)


def test_what_is_no_inspection_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    for text in ("", "[]", "{}", '{"facts": [1]}'):
        path.write_text(text)
        with pytest.raises(UsageError, match=r"inspect"):
            read_facts(path)


def test_facts_of_an_inspection_are_shown_to_the_designer(tmp_path: Path) -> None:
    path = tmp_path / "inspection.json"
    text = "pruning 60% of v_proj alone in all blocks raises the loss by +0.310 nats"
    write_json(path, {"facts": [text]})
    given = SearchParams(model="m", designer="openai", facts=str(path)).spec()
    assert given.facts == (text,) and SearchSpec.recorded(given.to_json()) == given
    plain = SearchParams(model="m", designer="openai").spec()
    assert "facts" not in plain.to_json() and given.digest != plain.digest
    with pytest.raises(ValidationError, match="shown no facts"):
        SearchParams(model="m", designer="none", facts=str(path))
    asked: list[str] = []

    def answer(request: ChatRequest) -> str:
        asked.append("\n".join(message.content for message in request.messages))
        return write_answer(request)

    with Search.open(tmp_path / "run", make_spec(facts=(text,))) as search:
        drive(search, Synthetic(ScriptedDesigner(answer)), stop=lambda count: len(asked) > 0)
    assert text in asked[0]
