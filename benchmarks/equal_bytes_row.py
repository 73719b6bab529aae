"""One row of ``equal_bytes``, in a process of its own."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from autoprune.checkpoint.compact import write_compact
from autoprune.digest import digest_json
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.metrics import candidate_metric
from autoprune.models import llama_cpp
from autoprune.models.gguf_writing import export_gguf
from autoprune.models.loading import LoadedModel, load_model
from autoprune.models.saving import save_model
from autoprune.models.structure import prunable_linears
from autoprune.pruning import MetricScore, PruningPlan, prune
from autoprune.recipe import Recipe
from autoprune.text.corpora import load_corpus
from autoprune.text.splits import split
from autoprune.text.windows import token_windows
from benchmarks.measured import report

PROMPT, NEW, REPEATS = 128, 32, 3


def main() -> None:
    """Do what the arguments say and report the figures."""
    what, ref, how, windows, part, samples, recipe = sys.argv[1:]
    if what == "sizes":
        report(**_sizes(load_model(ref).model))
    elif what == "drop":
        blocks, _, folder = how.partition(":")
        loaded = load_model(ref)
        drop_blocks(loaded.model, [int(number) for number in blocks.split(",")])
        save_model(loaded.model, loaded.tokenizer, Path(folder), {"model": ref, "dropped": blocks})
        report()
    else:
        with tempfile.TemporaryDirectory(prefix="autoprune-equal-bytes-") as scratch:
            root = Path(scratch)
            loaded, figures = (
                _gguf(ref, how, root)
                if what == "gguf"
                else _zeros(ref, float(how), recipe, int(samples), root)
            )
            report(**figures, perplexity=_perplexity(loaded, ref, int(windows), part))


def drop_blocks(model: PreTrainedModel, blocks: Sequence[int]) -> None:
    """Leave blocks out, in place; those that stay move up."""
    config = model.config
    kept = [i for i in range(config.num_hidden_layers) if i not in set(blocks)]
    model.model.layers = nn.ModuleList(model.model.layers[i] for i in kept)
    for place, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = place
    config.num_hidden_layers = len(kept)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[i] for i in kept]


def _sizes(model: PreTrainedModel) -> dict[str, int]:
    matrices = sum(linear.numel for linear in prunable_linears(model))
    return {
        "matrices": matrices,
        "rest": sum(value.numel() for value in model.parameters()) - matrices,
    }


def _gguf(ref: str, kind: str, scratch: Path) -> tuple[LoadedModel, dict[str, Any]]:
    """The file of one type: its bytes and speed, and the model that its weights make."""
    made = export_gguf(ref, scratch / "model.gguf", kind)
    figures: dict[str, Any] = {"bytes": made.bytes, "prefill": "-", "decode": "-"}
    if llama_cpp.installed():
        ids = torch.randint(3, 1000, (PROMPT,), generator=torch.Generator().manual_seed(0)).tolist()
        speed = llama_cpp.measure_speed(
            made.file, ids, NEW, repeats=REPEATS, threads=torch.get_num_threads()
        )
        for name, runs in (("prefill", speed.prefill), ("decode", speed.decode)):
            figures[name] = sorted(runs)[len(runs) // 2]
    return load_model(str(made.file)), figures


def _zeros(
    ref: str, share: float, text: str, samples: int, scratch: Path
) -> tuple[LoadedModel, dict[str, Any]]:
    """A recipe's zeros in bfloat16, and the bytes of the compact form."""
    loaded = load_model(ref)
    calibration = split(load_corpus("wikipedia-sample")).calibration
    seen = token_windows(calibration, loaded.tokenizer, samples, 512)
    recipe = Recipe.parse(text)
    plan = PruningPlan.of_recipe(recipe, share)
    prune(loaded.model, MetricScore(candidate_metric(recipe.metric)), plan, windows=seen)
    save_model(loaded.model, loaded.tokenizer, scratch / "dense", {}, dtype=torch.bfloat16)
    size = write_compact(scratch / "dense", scratch / "compact")
    figures = {"bytes": size.compact_bytes, "prefill": "as bf16", "decode": "as bf16"}
    return load_model(str(scratch / "dense")), figures


def _perplexity(loaded: LoadedModel, ref: str, windows: int, part: str) -> float:
    parts = split(load_corpus("wikipedia-sample"))
    text = parts.selection if part == "selection" else parts.sealed
    if part == "sealed":
        from tasks.sealed_looks import record_look
        from tasks.state import State

        look = f"benchmark equal_bytes {digest_json(sys.argv[1:])[:16]}"
        known: dict[str, Any] = {"kind": "benchmark", "splits": parts}
        record_look(State.open(), parts.sealed.digest, look, parts.whole, **known)
    cut = token_windows(text, loaded.tokenizer, windows, 512)
    return float(evaluate_windows(loaded.model, cut).perplexity)


if __name__ == "__main__":
    main()
