"""``autoprune prune`` with Wanda agrees with a straight-line implementation on the real model."""

import json
import math
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from autoprune.models.gguf_reading import shared_gguf_parsing
from autoprune.models.reference import DEMO_MODEL, package_file
from autoprune.text.wikipedia import sample_articles, sample_file
from flows.cli import main

SAMPLES, LENGTH = 4, 128


def straight_line_wanda(model: torch.nn.Module, windows: torch.Tensor) -> None:
    """Zero the lowest ``|W| * ||x||`` of each row, from one dense pass."""
    linears = [m for n, m in model.named_modules() if ".layers." in n and hasattr(m, "in_features")]
    squares: dict[torch.nn.Module, torch.Tensor] = {}

    def add(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        found = inputs[0].flatten(0, -2).double().square().sum(0)
        squares[module] = squares.get(module, torch.zeros_like(found)) + found

    hooks = [linear.register_forward_pre_hook(add) for linear in linears]
    with torch.no_grad():
        for window in windows:
            model(window[None])
        for hook in hooks:
            hook.remove()
        for linear in linears:
            scores = linear.weight.abs().double() * squares[linear].sqrt()
            # 345.6 of 576 inputs: the first rows lose one more than the others.
            rows, inputs = linear.weight.shape
            few = int(0.6 * inputs)
            more = round(0.6 * rows * inputs) - rows * few
            for part, count in ((slice(more), few + 1), (slice(more, rows), few)):
                lowest = scores[part].topk(count, dim=1, largest=False, sorted=False)
                linear.weight[part].scatter_(1, lowest.indices, 0.0)


def perplexity(model: torch.nn.Module, windows: torch.Tensor) -> float:
    with torch.no_grad():
        losses = [float(model(w[None], labels=w[None]).loss) for w in windows]
    return math.exp(sum(losses) / len(losses))


@pytest.mark.demo
@pytest.mark.slow
def test_perplexity_is_within_one_percent(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # Stripping the markup of all articles would take longer than pruning.
    first, second = islice(sample_articles(sample_file()), 2)
    seen, unseen = tmp_path / "seen.txt", tmp_path / "unseen.txt"
    seen.write_text(first[:60_000], encoding="utf-8")
    unseen.write_text(second[:6_000], encoding="utf-8")

    words = ["prune", "--model", DEMO_MODEL, "--metric", "wanda", "--sparsity", "0.6", "--json"]
    words += [
        "--statistics",
        "dense",
        "--calibration-windows",
        str(SAMPLES),
        "--seqlen",
        str(LENGTH),
    ]
    assert main([*words, "--corpus", str(seen), "--out", "pruned"]) == 0
    pruned = json.loads(capsys.readouterr().out)
    assert pruned["zeros"] == round(0.6 * pruned["prunable"])
    words = ["evaluate", "--model", "pruned", "--corpus", str(unseen), "--json"]
    assert main([*words, "--seqlen", str(LENGTH)]) == 0
    ours = json.loads(capsys.readouterr().out)

    file = package_file(DEMO_MODEL)
    # tests/models/test_demo_model.py compares this reader with the plain one, entry by entry.
    with shared_gguf_parsing():
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32
        ).eval()
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)

    def windows(path: Path, count: int) -> torch.Tensor:
        ids = tokenizer(path.read_text(encoding="utf-8"), return_tensors="pt").input_ids[0]
        return ids[: count * LENGTH].view(count, LENGTH)

    straight_line_wanda(model, windows(seen, SAMPLES))
    # All windows of the text: fewer would be spread over it.
    count = ours["tokens"] // (LENGTH - 1)
    theirs = perplexity(model, windows(unseen, count))
    assert count >= 4 and ours["tokens"] == count * (LENGTH - 1)
    assert ours["perplexity"] == pytest.approx(theirs, rel=0.01)
