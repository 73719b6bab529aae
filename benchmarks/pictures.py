"""The pictures of the manual, drawn from the demo model's own weights and activations."""

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import torch

from autoprune.allocation import ModelContext, allocate, build_allocator
from autoprune.masking import keep_matrix, keep_rows
from autoprune.metrics import build_metric
from autoprune.models.capture import BlockStream
from autoprune.models.loading import load_model
from autoprune.models.reference import DEMO_MODEL
from autoprune.models.structure import PrunableLinear, prunable_linears
from autoprune.repair import Repair, output_errors
from autoprune.statistics.recorder import BlockRecorder
from autoprune.statistics.statistics import BASIC, Statistics
from autoprune.text.corpora import load_corpus
from autoprune.text.splits import split
from autoprune.text.windows import token_windows

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
SPARSITY, SEQLEN, SHOWN_BLOCK = 0.6, 512, 15
REPAIRS = ("sparseswaps", "dsnot", "sparsegpt", "mrp", "sparseswaps+mrp")
ALLOCATORS = ("uniform", "ramp", "ramp:relax_last=0.5", "sdsa", "sdsa:statistic=skew", "owl")


def main() -> None:
    """Draw all of them; takes a minute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calibration-windows", type=int, default=4, help="of 512 tokens")
    args = parser.parse_args()
    loaded = load_model(DEMO_MODEL)
    text = split(load_corpus("wikipedia-sample")).calibration
    windows = token_windows(text, loaded.tokenizer, args.calibration_windows, SEQLEN)
    layers = prunable_linears(loaded.model)
    statistics = _statistics(loaded.model, windows, layers)
    FOLDER.mkdir(exist_ok=True)
    shown = {layer.projection: layer for layer in layers if layer.block == SHOWN_BLOCK}
    _save(_metrics(shown["o_proj"], statistics), "metrics")
    _save(_allocations(layers, statistics), "allocation")
    _save(_repairs(shown, statistics), "repair")


def _statistics(model: Any, windows: Any, layers: list[PrunableLinear]) -> Statistics:
    """Basic statistics of all blocks, Gram matrices of the one that is shown."""
    found: dict[str, Any] = {}
    with torch.no_grad():
        stream = BlockStream(model, windows, batch=4)
        for index, block in enumerate(stream.blocks):
            needs = BASIC | ({"gram"} if index == SHOWN_BLOCK else set())
            members = [layer for layer in layers if layer.block == index]
            with BlockRecorder(block, members, needs) as recorder:
                stream.advance()
            found.update(recorder.results())
    return Statistics(windows.numel(), "", found)


def _metrics(layer: PrunableLinear, statistics: Statistics) -> Any:
    figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True)
    weight, stats = layer.read(), statistics.of(layer.name)
    for axis, name in zip(axes, ("magnitude", "wanda", "ria"), strict=True):
        metric = build_metric(name)
        choose = keep_matrix if metric.group == "matrix" else keep_rows
        keep = choose(metric.score(weight, stats), round(SPARSITY * weight.numel()))
        axis.scatter(stats["x_norm"], 100 * keep.float().mean(0), s=5, alpha=0.6)
        axis.set(xscale="log", title=f"{name}, by {metric.group}", xlabel="input norm")
    axes[0].set_ylabel("kept weights of the column, %")
    figure.suptitle(f"{layer.name} at 60 %: one point per input feature", fontsize=10)
    return figure


def _allocations(layers: list[PrunableLinear], statistics: Statistics) -> Any:
    figure, axis = plt.subplots(figsize=(7, 3.4))
    context = ModelContext(layers, statistics)
    for text in ALLOCATORS:
        rates = allocate(build_allocator(text), context, SPARSITY)
        blocks = {layer.block: 100 * rates[layer.name] for layer in layers}
        axis.plot(list(blocks), list(blocks.values()), label=text, marker=".", markersize=3)
    axis.set(xlabel="block", ylabel="pruned, %", title="SmolLM2-135M, all at exactly 60 %")
    axis.legend(fontsize=7)
    return figure


def _repairs(shown: dict[str, PrunableLinear], statistics: Statistics) -> Any:
    figure, axis = plt.subplots(figsize=(8, 3.4))
    wanda, width = build_metric("wanda"), 0.8 / len(REPAIRS)
    for number, text in enumerate(REPAIRS):
        heights = []
        for layer in shown.values():
            weight, stats = layer.read(), statistics.of(layer.name)
            zeros = round(SPARSITY * weight.numel())
            keep = keep_rows(wanda.score(weight, stats), zeros)
            made = Repair.parse(text).repair(weight, keep, stats)
            error = output_errors(made.weight - weight, stats["gram"]).sum()
            heights.append(float(error / output_errors(weight * ~keep, stats["gram"]).sum()))
        places = [place + (number - 2) * width for place in range(len(shown))]
        axis.bar(places, heights, width, label=text)
        print(text, {name: round(h, 3) for name, h in zip(shown, heights, strict=True)})
    axis.axhline(1.0, color="black", linewidth=0.8)
    axis.set_xticks(range(len(shown)), list(shown), fontsize=8)
    axis.set(ylabel="output error / plain zeroing", ylim=(0, 1.2))
    axis.set_title(f"SmolLM2-135M, block {SHOWN_BLOCK}, Wanda at 60 %, then repair", fontsize=10)
    axis.legend(fontsize=7, ncol=len(REPAIRS), loc="upper center")
    return figure


def _save(figure: Any, name: str) -> None:
    figure.tight_layout()
    figure.savefig(FOLDER / f"{name}.png", dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
