"""Benchmarks from their first line to their table, on a tiny model with short windows."""

import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import Tensor

from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.models.loading import load_model
from autoprune.schemes.surgery import without_blocks
from autoprune.search.search import Search
from autoprune.search.spec import DesignerSpec, SearchBudget, SearchSpec
from autoprune.text.corpora import Corpus, load_corpus
from autoprune.text.splits import split
from autoprune.text.windows import token_windows
from benchmarks import (
    blocks,
    compact,
    equal_bytes,
    equal_bytes_row,
    experts,
    found_recipe,
    measured,
    recipes,
    repairs,
    row_systems,
    searching,
    streaming,
    table,
    throughput,
)
from benchmarks.evidence.records import read_record
from tasks.sealed_looks import count_looks
from tasks.state import State
from tests.support.benchmark_run import run
from tests.support.exportable import saved
from tests.support.small_search import SIZES


@pytest.fixture(autouse=True)
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "out"
    for module in (table, found_recipe, throughput, experts):
        monkeypatch.setattr(module, "OUT", folder)
    return folder


def shorten(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, model: Path, text: Path | None = None
) -> None:
    """Let a benchmark use another model and text, and windows that the model can read."""

    def windows(corpus: Corpus, tokenizer: Any, count: int, _: int) -> Tensor:
        return token_windows(corpus, tokenizer, count, 48)

    monkeypatch.setattr(module, "token_windows", windows)
    if text is not None:
        monkeypatch.setattr(module, "DEMO_MODEL", str(model))
        monkeypatch.setattr(module, "load_corpus", lambda _: load_corpus(str(text)))


def spec(model: Path, text: Path, **changes: Any) -> SearchSpec:
    values = {
        "model": str(model),
        "corpus": str(text),
        **SIZES,
    }
    return SearchSpec(**{**values, **changes})


def test_a_found_recipe_meets_the_catalogue_and_a_second_model(
    home: Path,
    tiny_folder: Path,
    text_file: Path,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten(found_recipe, monkeypatch, tiny_folder)
    wanted = spec(
        tiny_folder,
        text_file,
        designer=DesignerSpec(kind="genetic"),
        budget=SearchBudget(candidates=5),
        repair_choices=("none", "sparsegpt"),
    )
    found = searching.run_search(tmp_path / "cell", wanted)
    words = ["--run", str(tmp_path / "cell"), "--quick", "--measured-windows", "3"]
    words += [
        "--second",
        str(tiny_folder),
        "--second-calibration-windows",
        "2",
        "--second-measured-windows",
        "3",
    ]
    sealed = split(load_corpus(str(text_file))).sealed.digest
    before = count_looks(State.open(), sealed)
    record = run(found_recipe, monkeypatch, out, *words)
    looks = count_looks(State.open(), sealed) - before
    assert record["recipe"] == found["recipe"]
    searched = [row for row in record["rows"] if row["model"] == "searched"]
    assert len(searched) == 1 + 3 * len(found_recipe.REPAIRS)
    assert searched == sorted(searched, key=lambda row: row["sealed"])
    others = [row["recipe"] for row in record["rows"][len(searched) :]]
    assert others == ["found", "wanda", "ria", "sparsegpt", "wanda+ebft:epochs=2", "dense"]
    known = (out / "found_recipe.runs.jsonl").read_text().splitlines()
    assert {len(nll) for _, nll in map(json.loads, known)} == {3}
    # Each figure on the sealed text is one look.
    assert looks == len({row["as"] for row in searched}) + len(others)
    # Recipes are written with bars, which are no borders of the table.
    lines = [x for x in (out / "found_recipe.md").read_text().splitlines() if x.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in lines} == {7}
    # Each says how it differs from the found one of its model, with an interval.
    named = next(row["as"] for row in record["rows"] if row["recipe"] == "found")
    for row in record["rows"]:
        if row["recipe"] == "found":
            assert row["against the found"] == "-"
        elif row["as"] == named:
            assert row["against the found"] == "the same recipe"
        else:
            assert "% [" in row["against the found"]
    # What was measured is read, not measured again.
    monkeypatch.setattr(found_recipe, "evaluate_windows", None)
    again = run(found_recipe, monkeypatch, out, *words)
    assert again["rows"] == record["rows"]
    assert count_looks(State.open(), sealed) - before == looks


def test_the_plain_loop_and_the_search_try_one_list(
    home: Path, tiny_folder: Path, text_file: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(throughput, monkeypatch, tiny_folder, text_file)
    short = {"corpus": str(text_file), "seqlen": 48}
    monkeypatch.setattr(throughput, "SearchSpec", lambda **k: SearchSpec(**{**k, **short}))
    words = ("--candidates", "28", "--plain", "2", "--selection-windows", "4")
    words += ("--calibration-windows", "4")
    record = run(throughput, monkeypatch, out, *words)
    first = set((out / "throughput").glob("*"))
    assert [row["way"] for row in record["rows"]] == ["plain loop", "search"]
    assert len(record["plain"]) in (2, 3)
    assert record["rows"][1]["candidates"] == 28
    # Its own statistics, whatever other runs left.
    assert list((out / "throughput").glob("*/state/**/*.safetensors"))
    assert {row["as"].count("|") for row in record["plain"]} == {1}
    few = ("--candidates", "6", "--plain", "2", *words[4:], "--repairs", "mrp", "none")
    repaired = run(throughput, monkeypatch, out, *few)["plain"]
    assert [row["as"].endswith("| mrp") for row in repaired[:2]] == [True, False]
    (log,) = set((out / "throughput").glob("*")) - first
    with Search.open(log) as search:
        measured = {e.recipe.repair for e in search.entries if e.recipe and not e.is_baseline}
    assert measured == {"mrp", "none"}


def test_repairs_row_systems_and_compact_forms_come_to_a_table(
    home: Path, tiny_folder: Path, text_file: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (recipes, repairs, row_systems):
        shorten(module, monkeypatch, tiny_folder, text_file)
    few = ("--measured-windows", "3", "--calibration-windows", "4")
    made = run(repairs, monkeypatch, out, "--repairs", "none", "sparsegpt", "mrp", *few)["rows"]
    worst = {row["repair"]: row["layer error, worst"] for row in made}
    assert worst["none"] == 1 and worst["mrp"] < worst["sparsegpt"] < 1
    systems = run(row_systems, monkeypatch, out, "--block", "1")["rows"]
    assert all(float(row["panels, error"]) < 1e-4 for row in systems)
    monkeypatch.setattr(recipes, "ROWS", recipes.ROWS[:2])
    assert len(run(recipes, monkeypatch, out, *few)["rows"]) == 3
    sealed = split(load_corpus(str(text_file))).sealed.digest
    assert count_looks(State.open(), sealed) == 0
    run(recipes, monkeypatch, out, *few, "--part", "sealed")
    assert count_looks(State.open(), sealed) == 3
    forms = run(compact, monkeypatch, out, "--model", str(tiny_folder))["rows"]
    assert [row["form"] for row in forms[1:]] == ["bitmask", "csr", "gzip -6"]


def test_forms_of_equal_bytes_come_to_a_table_and_a_record(
    home: Path, text_file: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: dict[str, Any] = {}
    monkeypatch.setattr(equal_bytes_row, "report", figures.update)
    monkeypatch.setattr(equal_bytes_row, "PROMPT", range(3, 19))

    def here(_: str, asked: str, **__: Any) -> dict[str, Any]:
        figures.clear()
        monkeypatch.setattr(sys, "argv", ["row", asked])
        equal_bytes_row.main()
        return {"peak_mb": 1.0, "process_s": 1.0, "others": 0.0, **figures}

    for module in (measured, equal_bytes):
        monkeypatch.setattr(module, "run_fresh", here)
        monkeypatch.setattr(module, "OUT", out)
    few = ["--measured-windows", "3", "--calibration-windows", "4", "--seqlen", "48"]
    few += ["--model", str(saved(out / "dense", layers=3)), "--corpus", str(text_file)]
    few += ["--scheme", "depth"]
    few += ["--dense-types", "f16,q8_0", "--types", "f16", "--share", "0.34", "--part", "sealed"]
    record = out / "record"
    made = run(equal_bytes, monkeypatch, out, *few, "--record", str(record))["rows"]
    forms = {row["form"]: row for row in made}
    assert 0 < forms["zeros, as large as q8_0"]["zeros"] < 1
    smaller = [row for form, row in forms.items() if form.startswith("depth")]
    assert len(forms) == 4 and int(smaller[0]["bytes"].replace(",", "")) > 0
    sealed = split(load_corpus(str(text_file))).sealed.digest
    assert count_looks(State.open(), sealed) == 4
    kept = read_record(record)
    for form, row in forms.items():
        nll = kept.of(form, equal_bytes.BUDGET)[0]
        assert len(nll) == 3 and row["perplexity"] == pytest.approx(math.exp(nll.mean()))


def test_every_block_is_left_out_in_turn(
    tiny_folder: Path,
    text_file: Path,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = tmp_path / "record"
    words = ["--model", str(tiny_folder), "--corpus", str(text_file), "--measured-windows", "3"]
    found = run(blocks, monkeypatch, out, *words, "--seqlen", "48", "--record", str(kept))
    model = load_model(str(tiny_folder)).model
    text = split(load_corpus(str(text_file))).selection
    windows = token_windows(text, load_model(str(tiny_folder)).tokenizer, 3, 48)
    record = read_record(kept)
    assert record.of("dense", "")[0] == pytest.approx(evaluate_windows(model, windows).nll)
    assert [row["without block"] for row in found["rows"]] == [0, 1]
    for number, row in enumerate(found["rows"]):
        with without_blocks(model, [number]):
            alone = evaluate_windows(model, windows)
        assert row["perplexity"] == pytest.approx(alone.perplexity, rel=1e-5)
        assert record.of(f"without {number}", "1 block")[0] == pytest.approx(alone.nll, rel=1e-5)
    assert min(row["x the best"] for row in found["rows"]) == 1.0


def test_experts_are_pruned_by_each_criterion_on_own_and_other_text(
    home: Path,
    tiny_folder: Path,
    text_file: Path,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = tmp_path / "record"
    words = ["--model", str(tiny_folder), "--corpus", str(text_file), "--noise", "0.5"]
    words += ["--calibration-windows", "2", "--draws", "2", "--measured-windows", "2"]
    words += ["--seqlen", "48", "--record", str(kept), "--save", str(tmp_path / "mixture")]
    words += ["--criteria", *experts.ROWS]
    found = run(experts, monkeypatch, out, *words)
    of = {row["experts"]: row for row in found["rows"]}
    reading = ("exhaustive", "greedy", "reap", "frequency", "skip")
    names = {f"{name}, calibrated on {text}" for name in reading for text in ("own", "other")}
    assert of.keys() == {"dense Llama", "all experts", "random", *names}
    assert of["all experts"]["on own text"] != of["dense Llama"]["on own text"]
    assert all(math.isfinite(row[f"on {t} text"]) for row in of.values() for t in ("own", "other"))
    record = read_record(kept)
    assert record.of("random", "other text").keys() == {0, 1}
    losses = record.of("reap, calibrated on other", "own text")
    mean = math.exp(sum(float(nll.sum()) for nll in losses.values()) / 4)
    assert mean == pytest.approx(of["reap, calibrated on other"]["on own text"])
    assert str(tmp_path) not in record.body["command"]
    chosen = json.loads((kept / "experts.json").read_text())
    assert record.body["files"].keys() == {"losses.json", "experts.json"}
    for block in chosen["routing"]:
        assert len(block["tokens"]) == 4 and sum(block["tokens"]) == pytest.approx(1.0)
        # Of two experts, the second one counts, and never more than the first.
        assert 0.1 < block["second"] <= 0.5
    assert chosen["plans"].keys() == {"random", *names}
    # The same change as the document's derivation makes of the losses.
    rivals = ["random", "exhaustive, calibrated on other"]
    assert [one["rival"] for one in chosen["contrasts"]] == rivals
    pair = [record.of(n, "own text") for n in ("exhaustive, calibrated on own", "random")]
    gap = sum(float((pair[0][d] - pair[1][d]).sum()) for d in (0, 1)) / 4
    assert chosen["contrasts"][0]["change"] == pytest.approx(100 * math.expm1(gap))
    assert all(0 < one["p"] <= 1 and len(one["interval"]) == 2 for one in chosen["contrasts"])
    (step,) = chosen["plans"]["reap, calibrated on own"]["1"]["steps"]
    assert [len(own) for own in step["experts_kept"]] == [3] * len(chosen["routing"])
    # What was measured is kept: nothing is computed again.
    with monkeypatch.context() as broken:
        broken.setattr(experts, "evaluate_windows", None)
        assert run(experts, broken, out, *words)["rows"] == found["rows"]
    (cells,) = (out / "experts").iterdir()
    next(cells.glob("reap, calibrated on own*")).unlink()
    assert run(experts, monkeypatch, out, *words)["rows"] == found["rows"]
    skipping = of["skip, calibrated on own"]["on own text"]
    assert skipping != of["all experts"]["on own text"]
    mixture = load_model(str(tmp_path / "mixture"))
    assert mixture.model.config.num_local_experts == 4
    windows = token_windows(split(load_corpus(str(text_file))).selection, mixture.tokenizer, 2, 48)
    again = evaluate_windows(mixture.model, windows).perplexity
    assert again == pytest.approx(of["all experts"]["on own text"])


def test_streaming_makes_estimates_and_prunes_in_processes_that_read_its_options(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
    monkeypatch.setattr(streaming, "SIZES", {"3b": {}, "tenth": tiny})
    monkeypatch.setattr(streaming, "VOCABULARY", 128)
    monkeypatch.setattr(streaming, "OUT", out)
    figures: dict[str, Any] = {}
    monkeypatch.setattr(streaming, "report", figures.update)
    plans = []
    job_of = streaming.job_of

    def kept(args: Any) -> Any:
        plans.append((job := job_of(args)).plan)
        assert job.windows.shape == (2, 16)
        return job

    def here(_: str, *words: str) -> dict[str, Any]:
        figures.clear()
        monkeypatch.setattr(sys, "argv", ["streaming", *words])
        streaming.main()
        return {"peak_mb": 1.0, "process_s": 1.0, "others": 0.0, **figures}

    monkeypatch.setattr(streaming, "job_of", kept)
    monkeypatch.setattr(streaming, "run_fresh", here)
    words = ["--size", "tenth", "--calibration-windows", "2", "--seqlen", "16"]
    made = run(streaming, monkeypatch, out, *words, "--repair", "sparsegpt", "--allocation", "ramp")
    assert [row["what"] for row in made["rows"]] == ["peak memory, MB", "disk, MB", "seconds"]
    budget = made["goals"][-1]
    assert (budget["what"], budget["value"]) == ("weights off the budget", 0)
    # The estimate and the run.
    assert [plan.repair.text for plan in plans] == ["sparsegpt"] * 2
    assert {type(plan.allocation).__name__ for plan in plans} == {"Ramp"}
