"""Pruning and evaluation flows against straight-line code on a tiny model, and the saved folder."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from autoprune.errors import UsageError
from autoprune.repair import Mrp
from autoprune.text.corpora import CORPORA, load_corpus
from flows.cli import main
from flows.evaluate import evaluate
from flows.params import PruneParams
from flows.params.evaluate import EvaluateParams
from flows.prune import prune

SEQLEN = 48
SAMPLES = 6


def windows_of(folder: Path, text: Path, count: int) -> torch.Tensor:
    ids = AutoTokenizer.from_pretrained(folder)(text.read_text())["input_ids"]
    return torch.tensor(ids[: count * SEQLEN]).view(count, SEQLEN)


@torch.no_grad()
def straight_perplexity(folder: Path, text: Path, count: int) -> float:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    total = scored = 0.0
    for window in windows_of(folder, text, count):
        logits = model(window[None]).logits[0, :-1].double().log_softmax(-1)
        total -= float(logits.gather(1, window[1:, None]).sum())
        scored += len(window) - 1
    return math.exp(total / scored)


def squares_into(sums: dict[str, torch.Tensor], name: str) -> Any:
    def note(_: Any, args: Any, __: Any) -> None:
        seen = args[0].reshape(-1, args[0].shape[-1]).double().square().sum(0)
        sums[name] = sums.get(name, 0) + seen

    return note


@torch.no_grad()
def straight_wanda(folder: Path, text: Path, sparsity: float) -> dict[str, torch.Tensor]:
    """Zero the weights with the lowest |W| * ||x|| in each row, block after block.

    Written out from Sun et al., arXiv 2306.11695, section 3, and sharing nothing with the library.
    """
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    windows = windows_of(folder, text, SAMPLES)
    zeroed: dict[str, torch.Tensor] = {}
    for number, block in enumerate(model.model.layers):
        squares: dict[str, torch.Tensor] = {}
        hooks = []
        for name, module in block.named_modules():
            if isinstance(module, torch.nn.Linear):
                hooks.append(module.register_forward_hook(squares_into(squares, name)))
        model(windows)
        for hook in hooks:
            hook.remove()
        for name, module in block.named_modules():
            if isinstance(module, torch.nn.Linear):
                scores = module.weight.double().abs() * squares[name].sqrt()
                order = scores.argsort(dim=1)
                mask = torch.zeros_like(scores, dtype=torch.bool)
                count = round(sparsity * scores.shape[1])
                mask.scatter_(1, order[:, :count], True)
                module.weight[mask] = 0
                zeroed[f"model.layers.{number}.{name}.weight"] = mask
    return zeroed


def pruned(folder: Path, text: Path, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "model": str(folder),
        "corpus": str(text),
        "samples": SAMPLES,
        "seqlen": SEQLEN,
        "sparsity": 0.5,
    }
    return prune.fn(PruneParams(**(fields | changes)))


def test_perplexity_is_the_straight_line_one(
    tiny_folder: Path, text_file: Path, home: Path
) -> None:
    # All windows: fewer are spread over the text.
    asked = {"corpus": str(text_file), "windows": 10_000, "seqlen": SEQLEN}
    found = evaluate.fn(EvaluateParams(model=str(tiny_folder), **asked))
    count = found["windows"]
    assert count == len(text_file.read_bytes()) // SEQLEN
    assert found["perplexity"] == pytest.approx(straight_perplexity(tiny_folder, text_file, count))
    assert found["tokens"] == count * (SEQLEN - 1)
    assert any(
        f"{count} windows of {SEQLEN} tokens and 10000 are asked" in n for n in found["notes"]
    )


def test_wanda_masks_are_the_straight_line_ones(
    tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    record = pruned(tiny_folder, text_file, metric="wanda", out=str(out))
    dense, sparse = (
        load_file(tiny_folder / "model.safetensors"),
        load_file(out / "model.safetensors"),
    )
    expected = straight_wanda(tiny_folder, text_file, 0.5)
    # Half of every row of 32 or 64: no remainder, so the rule needs no tie-breaking.
    for name, mask in expected.items():
        assert torch.equal(sparse[name] == 0, mask), name
        assert torch.equal(sparse[name][~mask], dense[name][~mask]), name
    assert record["zeros"] == sum(int(mask.sum()) for mask in expected.values())


def test_record_and_saved_folder(
    tiny_folder: Path,
    text_file: Path,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    record = pruned(tiny_folder, text_file, sparsity=0.6, allocation="ramp", out=str(out))
    assert record["zeros"] == round(0.6 * record["prunable"])
    assert record["sparsity"] == record["zeros"] / record["prunable"]
    assert record["peak_rss_mb"] > 0 and record["seconds"] > 0
    assert record["pruned"] == record["zeros"] and record["recount"] is None
    model = AutoModelForCausalLM.from_pretrained(out)
    assert record["total"] == model.num_parameters()
    assert record["sparsity_of_all"] == record["zeros"] / record["total"] < record["sparsity"]
    linears = [m for m in model.model.layers.modules() if isinstance(m, torch.nn.Linear)]
    assert sum(int((m.weight == 0).sum()) for m in linears) == record["zeros"]
    kept = json.loads((out / "autoprune.json").read_text())
    assert kept["metric"] == "wanda" and kept["checkpoint"]["zeros"] == record["zeros"]
    AutoTokenizer.from_pretrained(out)
    # Pruned once more, by chance: what stays is zero in six of ten places already.
    words = ["prune", "--model", str(out), "--corpus", str(text_file), "--metric", "random"]
    words += ["--sparsity", "0.5", "--calibration-windows", "2", "--seqlen", "32", "-q"]
    assert main([*words, "--out", str(tmp_path / "again")]) == 0
    text = capsys.readouterr().out
    again = json.loads((tmp_path / "again" / "autoprune.json").read_text())
    assert again["pruned"] * 2 == again["prunable"]
    counted = again["checkpoint"]
    assert counted["sparsity"] == pytest.approx(0.8, abs=0.01)
    assert f"{counted['zeros'] - again['pruned']:,} of the weights that stay" in counted["recount"]
    assert counted["recount"] in text and "and 50.00% were pruned" in text
    assert f"; of all {counted['total']:,} parameters {counted['sparsity_of_all']:.4%}" in text
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recount"] == counted["recount"]


def test_a_formula_is_the_builtin_it_spells(tiny_folder: Path, text_file: Path, home: Path) -> None:
    by_name = pruned(tiny_folder, text_file, metric="wanda")
    by_formula = pruned(tiny_folder, text_file, metric="expr:x_norm * abs(W)")
    assert by_name["mask_digest"] == by_formula["mask_digest"]


def test_statistics_of_the_dense_model_differ(
    tiny_folder: Path, text_file: Path, home: Path
) -> None:
    sequential = pruned(tiny_folder, text_file, statistics="sequential")
    dense = pruned(tiny_folder, text_file, statistics="dense")
    assert sequential["mask_digest"] != dense["mask_digest"]
    assert sequential["zeros"] == dense["zeros"]


@pytest.mark.parametrize("sparsity", [0.0, 0.999])
def test_extreme_budgets_are_exact(
    tiny_folder: Path, text_file: Path, home: Path, sparsity: float
) -> None:
    record = pruned(tiny_folder, text_file, metric="magnitude", sparsity=sparsity)
    assert record["zeros"] == round(sparsity * record["prunable"])


@pytest.mark.parametrize(("pattern", "zeros"), [("2:4", 2), ("1:4", 1)])
def test_n_m_pattern_needs_no_sparsity(
    tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path, pattern: str, zeros: int
) -> None:
    out = tmp_path / "out"
    record = pruned(tiny_folder, text_file, pattern=pattern, sparsity=None, out=str(out))
    assert record["target"] == record["sparsity"] == zeros / 4
    weight = load_file(out / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    assert ((weight.view(-1, 4) == 0).sum(1) == zeros).all()


def test_a_half_precision_model_stays_one_streamed_or_not(
    tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.bfloat16)
    model.save_pretrained(half)
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(half)
    changes = {"solver": "mrp", "statistics": "true-sequential"}
    made = {
        name: pruned(half, text_file, out=str(tmp_path / name), **(changes | more))
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
        pruned(half, text_file, dry_run=True, dtype="float16")


@pytest.mark.parametrize(
    ("dtype", "saved"), [("auto", torch.bfloat16), ("float32", None), ("bfloat16", None)]
)
def test_rows_are_judged_in_the_type_that_is_saved(
    tiny_folder: Path,
    text_file: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    saved: torch.dtype | None,
) -> None:
    half, judged = tmp_path / "half", []
    AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.bfloat16).save_pretrained(half)
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(half)
    repair = Mrp.repair

    def noted(self: Mrp, *args: Any) -> Any:
        judged.append(args[-1])
        return repair(self, *args)

    monkeypatch.setattr(Mrp, "repair", noted)
    pruned(half, text_file, solver="mrp", dtype=dtype, out=str(tmp_path / "out"))
    assert set(judged) == {saved}


@pytest.mark.docker
def test_a_metric_in_a_file_runs_in_the_container(
    tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path
) -> None:
    code = tmp_path / "metric.py"
    code.write_text('def score(W, stats, params):\n    return W.abs() * stats["x_norm"]\n')
    by_file = pruned(tiny_folder, text_file, metric=str(code))
    by_name = pruned(tiny_folder, text_file, metric="wanda", statistics="dense")
    assert by_file["mask_digest"] == by_name["mask_digest"]


@pytest.mark.docker
def test_a_rejected_file_prunes_nothing(
    tiny_folder: Path,
    text_file: Path,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    marker = tmp_path / "escaped"
    code = tmp_path / "metric.py"
    code.write_text(
        f"open({str(marker)!r}, 'w').write('x')\n\ndef score(W, stats, params):\n    return W\n"
    )
    words = ["prune", "--model", str(tiny_folder), "--corpus", str(text_file), "-q"]
    words += ["--calibration-windows", "2", "--seqlen", "16", "--out", str(tmp_path / "out")]
    assert main([*words, "--metric", str(code)]) == 3
    assert "the sandbox rejects" in capsys.readouterr().err
    assert not marker.exists() and not (tmp_path / "out").exists()


def test_a_streamed_model_is_the_sequential_one_and_both_say_what_they_saw(
    tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = pruned(tiny_folder, text_file, out=str(tmp_path / "in-memory"))
    assert in_memory["notes"] == []
    # The same text, now one for figures.
    corpus = dataclasses.replace(load_corpus(str(text_file)), name="trial", test=True)
    monkeypatch.setitem(CORPORA._entries, "trial", lambda _: corpus)
    streamed = pruned(
        tiny_folder, text_file, corpus="trial", stream=True, out=str(tmp_path / "streamed")
    )
    (note,) = streamed["notes"]
    assert "'trial' is one that papers report figures on" in note
    chosen = pruned(tiny_folder, text_file, corpus="trial", allocation="auto:ramp")
    assert "'trial/calibration' is one that papers report figures on" in chosen["notes"][0]
    assert streamed["mask_digest"] == in_memory["mask_digest"]
    assert streamed["zeros"] == in_memory["zeros"]
    left, right = (
        load_file(tmp_path / name / "model.safetensors") for name in ("in-memory", "streamed")
    )
    assert all(torch.equal(left[name], right[name]) for name in left)
    kept = json.loads((tmp_path / "streamed" / "autoprune.json").read_text())
    assert kept["notes"] == [note]
    assert pruned(tiny_folder, text_file, corpus="trial", metric="magnitude")["notes"] == [note]
    assert kept["metric"] == "wanda" and kept["checkpoint"]["zeros"] == streamed["zeros"]
    AutoTokenizer.from_pretrained(tmp_path / "streamed")


def test_a_dry_run_states_the_cost_and_leaves_nothing(
    tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path
) -> None:
    record = pruned(tiny_folder, text_file, dry_run=True, out=str(tmp_path / "out"))
    cost = record["estimate"]
    assert cost["memory_mb"] == pytest.approx(sum(cost["memory_parts_mb"].values()))
    assert cost["disk_mb"] > 0 and cost["seconds"] > 0
    assert not (tmp_path / "out").exists() and record["out"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"statistics": "dense"}, "leave out --stream or --statistics dense"),
        ({"metric": "gblm"}, "gradients of the whole model"),
        ({"group": "global"}, "whole model at once"),
    ],
)
def test_what_cannot_be_streamed_is_refused(
    tiny_folder: Path,
    text_file: Path,
    home: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(UsageError, match=message):
        pruned(tiny_folder, text_file, stream=True, out=str(tmp_path / "out"), **changes)
    with pytest.raises(ValidationError, match="give --out"):
        pruned(tiny_folder, text_file, stream=True)
    assert not (tmp_path / "out").exists()
