"""The pruning flow on a tiny model: record, saved folder, number types, files of metrics."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import autoprune
from autoprune.budget import Budget
from autoprune.errors import AutopruneError
from autoprune.models.gguf_writing import export_gguf
from autoprune.models.loading import load_model
from autoprune.models.saved_type import matrix_types
from autoprune.models.structure import prunable_linears
from autoprune.repair import Mrp
from autoprune.text.corpora import CORPORA, load_corpus
from autoprune.text.windows import token_windows
from flows.prune import prune
from flows.prune.params import PruneParams
from tests.support import exportable
from tests.support.command_line import PRUNE, CommandLine
from tests.support.whole_model import inputs_of

SEQLEN = 48
SAMPLES = 6
Prune = Callable[..., dict[str, Any]]


@pytest.fixture
def pruned(tiny_folder: Path, text_file: Path, home: Path) -> Prune:
    """The record of the flow, for the tiny model where a test names no other."""

    def run(**changes: Any) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "model": str(tiny_folder), "corpus": str(text_file), "calibration_windows": SAMPLES,
            "seqlen": SEQLEN, "sparsity": 0.5,
        }  # fmt: skip
        return prune.fn(PruneParams(**(fields | changes)))

    return run


@pytest.fixture
def half(tiny_folder: Path, tmp_path: Path) -> Path:
    """The tiny model in bfloat16."""
    folder = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(folder)
    return folder


def test_saved_masks_are_those_of_the_paper(
    pruned: Prune, tiny_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    """The lowest |W| * ||x|| of each row, Sun et al., arXiv 2306.11695, section 3."""
    loaded = load_model(str(tiny_folder))
    layers = prunable_linears(loaded.model)
    text = load_corpus(str(text_file)).for_calibration(0)
    windows = token_windows(text, loaded.tokenizer, SAMPLES, SEQLEN)
    inputs = inputs_of(loaded.model, layers, windows)
    asked = {"metric": "wanda", "statistics": "dense", "out": str(tmp_path / "out")}
    record = pruned(**asked)
    saved = prunable_linears(load_model(str(tmp_path / "out")).model)
    for dense, sparse in zip(layers, saved, strict=True):
        weight = dense.read()
        scores = weight.abs() * inputs[dense.name].square().sum(0).sqrt()
        # Half of every row of 32 or 64: no remainder, so the rule needs no tie-breaking.
        lowest = scores.argsort(1)[:, : weight.shape[1] // 2]
        expected = weight.scatter(1, lowest, 0.0)
        assert torch.equal(sparse.read(), expected), dense.name
    assert record["zeros"] * 2 == record["prunable"]
    # Block after block others are the lowest, and as many.
    again = pruned(metric="wanda", statistics="sequential")
    assert again["mask_digest"] != record["mask_digest"] and again["zeros"] == record["zeros"]


def test_record_and_saved_folder(pruned: Prune, cli: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "out"
    record = pruned(sparsity=0.6, allocation="ramp", out=str(out))
    assert record["zeros"] == round(0.6 * record["prunable"])
    assert record["sparsity"] == record["zeros"] / record["prunable"]
    assert record["peak_rss_mb"] > 0 and record["seconds"] > 0
    assert record["pruned"] == record["zeros"] and record["recount"] is None
    assert record["target"] == 0.6 and record["pattern"] == "unstructured"
    model = AutoModelForCausalLM.from_pretrained(out)
    assert record["total"] == model.num_parameters()
    assert record["sparsity_of_all"] == record["zeros"] / record["total"] < record["sparsity"]
    linears = [m for m in model.model.layers.modules() if isinstance(m, torch.nn.Linear)]
    assert sum(int((m.weight == 0).sum()) for m in linears) == record["zeros"]
    kept = json.loads((out / "autoprune.json").read_text())
    assert kept["metric"] == "wanda" and kept["checkpoint"]["zeros"] == record["zeros"]
    AutoTokenizer.from_pretrained(out)
    card = (out / "README.md").read_text()
    assert 'from_pretrained(".")' in card and "Calibration text, continued" in card
    first, second = kept["writes"]["samples"]
    assert (
        first["dense"] != first["pruned"] and second["prompt"] and card.count("| unpruned |") == 2
    )
    # Pruned once more, by chance: what stays is zero in six of ten places already.
    cli.places["MODEL"] = out
    line = f"{PRUNE} --metric random --sparsity 0.5 --seqlen 32"
    text = cli(f"{line} --out {tmp_path / 'again'}").out
    again = json.loads((tmp_path / "again" / "autoprune.json").read_text())
    assert again["pruned"] * 2 == again["prunable"]
    counted = again["checkpoint"]
    assert counted["sparsity"] == pytest.approx(0.8, abs=0.01)
    assert f"{counted['zeros'] - again['pruned']:,} of the weights that stay" in counted["recount"]
    assert counted["recount"] in text and "and 50.00% were pruned" in text
    assert f"; of all {counted['total']:,} parameters {counted['sparsity_of_all']:.4%}" in text
    assert cli.record(line)["recount"] == counted["recount"]


def test_a_disk_too_full_for_the_model_is_refused_before_the_work(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    # A program that reached this would fail otherwise.
    monkeypatch.setattr("flows.prune.flow.prune_model", None)
    out = tmp_path / "pruned"
    cli.refuses(f"{PRUNE} --metric magnitude --out {out}", "0 MB free", code=1)
    monkeypatch.setattr("flows.prune.scheme.shrink_model", None)
    scheme = "prune MODEL --corpus TEXT --seqlen 32 --scheme depth:criterion=influence"
    cli.refuses(f"{scheme} --sparsity 0.5 --out {out}", "0 MB free", code=1)
    monkeypatch.setattr("autoprune.api.prune_in_place", None)
    model, text = (cli.words(name)[0] for name in ("MODEL", "TEXT"))
    with pytest.raises(AutopruneError, match="MB free"):
        autoprune.prune(model, "wanda", 0.5, corpus=text, seqlen=32, out=out)
    monkeypatch.setattr("autoprune.bench.smaller.Shrinking.apply", None)
    for budget in (0.5, Budget(bytes=0.2)):
        with pytest.raises(AutopruneError, match="MB free"):
            autoprune.prune(model, scheme="depth", sparsity=budget, corpus=text, seqlen=32, out=out)
    assert not out.exists()


def test_a_recipe_that_reads_no_text_says_nothing_about_text(
    pruned: Prune, tiny_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    record = pruned(metric="magnitude", out=str(out))
    (note,) = record["notes"]
    assert "no text is read by magnitude, so that --corpus, --calibration-windows" in note
    kept = json.loads((out / "autoprune.json").read_text())
    assert not {"corpus", "corpus_digest", "overlap", "samples", "seqlen"} & (record | kept).keys()
    assert "no text was read" in (out / "README.md").read_text()
    assert not (out / "seen_text.npz").exists()
    # The masks are those of the blocks one after the other, which runs them on the text.
    walked = pruned(metric="magnitude", statistics="sequential")
    assert walked["mask_digest"] == record["mask_digest"] and walked["samples"] == SAMPLES
    # More than the text has are asked for; the record counts those that were read.
    fewer = pruned(pattern="1:4", sparsity=None, calibration_windows=100_000)
    assert fewer["target"] == 0.25 and fewer["pattern"] == "1:4" and fewer["samples"] < 100_000
    assert any("windows" in note for note in fewer["notes"]), fewer["notes"]


def test_a_half_precision_model_stays_one_streamed_or_not(
    pruned: Prune, half: Path, tmp_path: Path
) -> None:
    changes = {"model": str(half), "repair": "mrp", "statistics": "true-sequential"}
    made = {
        name: pruned(out=str(tmp_path / name), **(changes | more))
        for name, more in {
            "memory": {}, "streamed": {"stream": True}, "wide": {"dtype": "float32"},
            "narrow": {"dtype": "bfloat16"}, "plain": {"statistics": "sequential"},
        }.items()
    }  # fmt: skip
    files = {name: load_file(tmp_path / name / "model.safetensors") for name in made}
    kinds = {name: {value.dtype for value in file.values()} for name, file in files.items()}
    assert kinds.pop("wide") == {torch.float32}
    assert all(kind == {torch.bfloat16} for kind in kinds.values())
    # In memory or from shards: the same masks and the same bits; computed in float32.
    digests = {name: record["mask_digest"] for name, record in made.items()}
    assert digests["memory"] == digests["streamed"] == digests["wide"] != digests["plain"]
    for name, value in files["memory"].items():
        assert torch.equal(value, files["streamed"][name]), name
        assert torch.equal(value, files["wide"][name].bfloat16()), name
    assert all(record["zeros"] * 2 == record["prunable"] for record in made.values())
    assert (made["memory"]["dtype"], made["narrow"]["dtype"]) == ("float32", "bfloat16")
    with pytest.raises(ValidationError, match="leave out --dtype float16"):
        pruned(model=str(half), dry_run=True, dtype="float16")


@pytest.mark.parametrize(
    ("dtype", "saved"), [("auto", torch.bfloat16), ("float32", None), ("bfloat16", None)]
)
def test_rows_are_judged_in_the_type_that_is_saved(
    pruned: Prune, half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str,
    saved: torch.dtype | None,
) -> None:  # fmt: skip
    judged = []
    repair = Mrp.repair

    def noted(self: Mrp, *args: Any) -> Any:
        judged.append(args[-1])
        return repair(self, *args)

    monkeypatch.setattr(Mrp, "repair", noted)
    pruned(model=str(half), repair="mrp", dtype=dtype, out=str(tmp_path / "out"))
    assert set(judged) == {saved}


def test_a_quantised_source_is_saved_in_bfloat16_with_the_same_zeros(
    pruned: Prune, tmp_path: Path
) -> None:
    source = tmp_path / "tiny.gguf"
    export_gguf(exportable.saved(tmp_path / "model"), source, "q8_0", compute=False)
    asked = {"model": str(source), "metric": "magnitude", "statistics": "dense"}
    asked["corpus"] = str(tmp_path / "text.txt")
    (tmp_path / "text.txt").write_text("the hen in the hall " * 400)
    made = {}
    for dtype, kind in (("auto", "BF16"), ("float32", "F32")):
        made[dtype] = pruned(**asked, repair="mrp", dtype=dtype, out=str(tmp_path / dtype))
        assert matrix_types(tmp_path / dtype) == {kind}
    narrow, wide = made["auto"], made["float32"]
    # Recounted in the files.
    assert narrow["zeros"] == narrow["pruned"] == wide["zeros"]
    assert narrow["mask_digest"] == wide["mask_digest"] and narrow["recount"] is None
    assert any(
        "quantised to Q8_0" in note and "--dtype float32" in note for note in narrow["notes"]
    )
    assert not any("quantised" in note for note in wide["notes"])


@pytest.mark.docker
def test_a_metric_in_a_file_runs_in_the_container(
    pruned: Prune, cli: CommandLine, tmp_path: Path
) -> None:
    code, marker = tmp_path / "metric.py", tmp_path / "escaped"
    code.write_text('def score(W, stats, params):\n    return W.abs() * stats["x_norm"]\n')
    by_name = pruned(metric="wanda", statistics="dense")
    made = pruned(metric=str(code), out=str(tmp_path / "kept"))
    assert made["mask_digest"] == by_name["mask_digest"]
    kept = json.loads((tmp_path / "kept" / "autoprune.json").read_text())
    assert kept["metric"] == "metric.py" and kept["metric_code"]["source"] == code.read_text()
    assert code.read_text() in (tmp_path / "kept" / "README.md").read_text()
    # One that is rejected prunes nothing.
    code.write_text(f"open({str(marker)!r}, 'w').write('x')\n{code.read_text()}")
    line = f"{PRUNE} --metric {code} --seqlen 16 --out {tmp_path / 'out'}"
    cli.refuses(line, "the sandbox rejects", code=3)
    assert not marker.exists() and not (tmp_path / "out").exists()


def test_a_streamed_model_is_the_sequential_one_and_both_say_what_they_saw(
    pruned: Prune, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = pruned(out=str(tmp_path / "in-memory"))
    assert in_memory["notes"] == []
    # The same text, now one for figures.
    corpus = dataclasses.replace(load_corpus(str(text_file)), name="trial", test=True)
    monkeypatch.setitem(CORPORA._entries, "trial", lambda _: corpus)
    asked = {"corpus": "trial", "stream": True, "out": str(tmp_path / "streamed")}
    cost = pruned(dry_run=True, out=asked["out"])["estimate"]
    assert cost["memory_mb"] == pytest.approx(sum(cost["memory_parts_mb"].values()))
    assert cost["disk_mb"] > 0 and cost["seconds"] > 0 and not (tmp_path / "streamed").exists()
    streamed = pruned(**asked)
    (note,) = streamed["notes"]
    assert "'trial' is one that papers report figures on" in note
    assert pruned(corpus="trial", repair="mrp")["notes"] == [note]
    chosen = pruned(corpus="trial", allocation="auto:ramp")
    assert "'trial/calibration' is one that papers report figures on" in chosen["notes"][0]
    assert streamed["mask_digest"] == in_memory["mask_digest"]
    left, right = (
        load_file(tmp_path / name / "model.safetensors") for name in ("in-memory", "streamed")
    )
    assert all(torch.equal(left[name], right[name]) for name in left)
    kept = json.loads((tmp_path / "streamed" / "autoprune.json").read_text())
    assert kept["notes"] == [note]
    assert kept["metric"] == "wanda" and kept["checkpoint"]["zeros"] == streamed["zeros"]
    AutoTokenizer.from_pretrained(tmp_path / "streamed")


def test_what_cannot_be_streamed_is_refused(cli: CommandLine, tmp_path: Path) -> None:
    line = f"{PRUNE} --stream --seqlen 32"
    for words, message in (
        ("--statistics dense", "leave out --stream or --statistics dense"),
        ("--metric gblm", "gradients of the whole model"),
        ("--group global", "whole model at once"),
    ):
        cli.refuses(f"{line} --out {tmp_path / 'out'} {words}", message)
    cli.refuses(line, "give --out")
    assert not (tmp_path / "out").exists()
