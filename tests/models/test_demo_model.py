"""The demo's real model: loads silently, saves, opens again alike, and Wanda is Wanda on it."""

import functools
import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from unittest import mock

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.metrics import build_metric
from autoprune.models import gguf_reading
from autoprune.models.gguf_reading import shared_gguf_parsing
from autoprune.models.loading import LoadedModel, load_model
from autoprune.models.reference import DEMO_MODEL, package_file
from autoprune.models.saving import save_model
from autoprune.models.structure import find_blocks, prunable_linears
from autoprune.pruning import MetricScore, PruningPlan, prune
from autoprune.text.corpora import load_corpus
from autoprune.text.wikipedia import sample_articles, sample_file
from autoprune.text.windows import token_windows

pytestmark = pytest.mark.demo

SAMPLES, LENGTH = 4, 128


@pytest.fixture(scope="module")
def demo() -> Iterator[Callable[[], LoadedModel]]:
    """Loads the model once, when a test asks for it; who changes it puts it back."""
    load = functools.cache(lambda: load_model(DEMO_MODEL, device="cpu"))
    yield load
    load.cache_clear()


def test_loads_silently_saves_and_opens(
    demo: Callable[[], LoadedModel], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # The first call in this file: parsed once, for the configuration, weights and tokenizer.
    with mock.patch.object(gguf_reading, "_ArrayReader", wraps=gguf_reading._ArrayReader) as parse:
        loaded = demo()
    assert parse.call_count == 1
    linears = prunable_linears(loaded.model)
    assert len(find_blocks(loaded.model)) == 30
    assert len(linears) == 210
    assert sum(linear.numel for linear in linears) == 106_168_320
    saved = save_model(loaded.model, loaded.tokenizer, tmp_path / "model", {})
    assert saved.zeros.total == 134_515_008
    assert capfd.readouterr() == ("", "")
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(opened(ids).logits, loaded.model(ids).logits)
        assert tokenizer.decode(opened(ids).logits[0, -1].argmax()) == " Paris"


def test_the_shared_reader_reads_what_the_plain_one_reads() -> None:
    path = str(package_file(DEMO_MODEL))
    plain = gguf.GGUFReader(path)
    with shared_gguf_parsing():
        shared = gguf.GGUFReader(path)
        assert gguf.GGUFReader(path) is shared
    assert gguf.GGUFReader(path) is not shared
    assert list(shared.fields) == list(plain.fields)
    for name, field in plain.fields.items():
        assert shared.fields[name].contents() == field.contents(), name
    for ours, theirs in zip(shared.tensors, plain.tensors, strict=True):
        assert (ours.name, ours.tensor_type) == (theirs.name, theirs.tensor_type)
        assert np.array_equal(ours.data, theirs.data)


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


def test_wanda_s_perplexity_is_within_one_percent_of_a_straight_line_implementation(
    demo: Callable[[], LoadedModel], tmp_path: Path
) -> None:
    model, tokenizer = demo().model, demo().tokenizer
    # Stripping the markup of all articles would take longer than pruning.
    first, second = islice(sample_articles(sample_file()), 2)
    seen, unseen = tmp_path / "seen.txt", tmp_path / "unseen.txt"
    seen.write_text(first[:60_000], encoding="utf-8")
    unseen.write_text(second[:6_000], encoding="utf-8")
    dense = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        plan = PruningPlan.build(0.6)
        drawn = token_windows(load_corpus(str(seen)), tokenizer, SAMPLES, LENGTH)
        made = prune(model, MetricScore(build_metric("wanda")), plan, windows=drawn)
        assert made.zeros == round(0.6 * made.prunable)
        # All windows of the text: fewer would be spread over it.
        measured = token_windows(load_corpus(str(unseen)), tokenizer, 1000, LENGTH)
        ours = evaluate_windows(model, measured)

        def windows(path: Path, count: int) -> torch.Tensor:
            ids = tokenizer(path.read_text(encoding="utf-8"), return_tensors="pt").input_ids[0]
            return ids[: count * LENGTH].view(count, LENGTH)

        model.load_state_dict(dense)
        straight_line_wanda(model, windows(seen, SAMPLES))
        theirs = perplexity(model, windows(unseen, len(measured)))
    finally:
        model.load_state_dict(dense)
    assert len(measured) >= 4
    assert ours.perplexity == pytest.approx(theirs, rel=0.01)
