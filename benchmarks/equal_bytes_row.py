"""One row of ``equal_bytes``, in a process of its own."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.bench.scheme_budget import SchemeBudget
from autoprune.bench.smaller import Shrinking
from autoprune.budget import Budget
from autoprune.checkpoint.compact import write_compact
from autoprune.evaluation.perplexity import Evaluation, evaluate_windows
from autoprune.metrics import candidate_metric
from autoprune.models import llama_cpp
from autoprune.models.gguf_writing import export_gguf
from autoprune.models.loading import LoadedModel, load_model
from autoprune.models.saved_type import checkpoint_type
from autoprune.models.saving import save_model
from autoprune.models.structure import prunable_linears
from autoprune.pruning import MetricScore, PruningPlan, prune
from autoprune.recipe import Recipe
from autoprune.text.corpora import load_corpus
from autoprune.text.splits import Splits, split
from autoprune.text.windows import token_windows
from benchmarks.looks import measured_part
from benchmarks.measured import report

# Any tokens take the same time.
PROMPT, NEW, REPEATS = range(3, 131), 32, 3


def main() -> None:
    """Do what the JSON argument says and report the figures."""
    asked = json.loads(sys.argv[1])
    what, ref = asked["what"], asked["ref"]
    if what == "sizes":
        report(**_sizes(load_model(ref).model))
        return
    parts = split(load_corpus(asked["corpus"]), asked["text_split"])
    if what == "smaller":
        report(removed=_smaller(ref, asked, parts))
        return
    with tempfile.TemporaryDirectory(prefix="autoprune-equal-bytes-") as scratch:
        root = Path(scratch)
        if what == "gguf":
            loaded, figures = _gguf(ref, asked["type"], root)
        else:
            loaded, figures = _zeros(ref, asked, parts, root)
        found = _measured(loaded, asked, parts)
        report(**figures, perplexity=found.perplexity, nll=found.nll)


def _sizes(model: PreTrainedModel) -> dict[str, int]:
    matrices = sum(linear.numel for linear in prunable_linears(model))
    return {
        "matrices": matrices,
        "rest": sum(value.numel() for value in model.parameters()) - matrices,
    }


def _seen(loaded: LoadedModel, asked: dict[str, Any], parts: Splits, count: int) -> Tensor:
    return token_windows(parts.calibration, loaded.tokenizer, count, asked["seqlen"])


def _smaller(ref: str, asked: dict[str, Any], parts: Splits) -> float:
    """Save a smaller dense model, and return the share of the blocks' parameters it lost."""
    loaded = load_model(ref)
    how = Shrinking.parse(asked["scheme"])
    first = asked["calibration_windows"]
    text = _seen(loaded, asked, parts, first + how.fresh_windows)
    dtype = checkpoint_type(loaded.source)
    budget = SchemeBudget(Budget(asked["share"]), dtype)
    shrunk = how.apply(loaded.model, budget, text[:first], fresh=text[first:])
    facts = {"model": ref, "scheme": how.text}
    save_model(loaded.model, loaded.tokenizer, Path(asked["folder"]), facts, dtype=dtype)
    return shrunk.plan.share


def _gguf(ref: str, kind: str, scratch: Path) -> tuple[LoadedModel, dict[str, Any]]:
    """The file of one type: its bytes and speed, and the model that its weights make."""
    made = export_gguf(ref, scratch / "model.gguf", kind)
    figures: dict[str, Any] = {"bytes": made.bytes, "prefill": "-", "decode": "-"}
    if llama_cpp.installed():
        speed = llama_cpp.measure_speed(
            made.file, PROMPT, NEW, repeats=REPEATS, threads=torch.get_num_threads()
        )
        for name, runs in (("prefill", speed.prefill), ("decode", speed.decode)):
            figures[name] = sorted(runs)[len(runs) // 2]
    return load_model(str(made.file)), figures


def _zeros(
    ref: str, asked: dict[str, Any], parts: Splits, scratch: Path
) -> tuple[LoadedModel, dict[str, Any]]:
    """A recipe's zeros in bfloat16, and the bytes of the compact form."""
    loaded = load_model(ref)
    seen = _seen(loaded, asked, parts, asked["calibration_windows"])
    recipe = Recipe.parse(asked["recipe"])
    plan = PruningPlan.of_recipe(recipe, asked["share"])
    prune(loaded.model, MetricScore(candidate_metric(recipe.metric)), plan, windows=seen)
    save_model(loaded.model, loaded.tokenizer, scratch / "dense", {}, dtype=torch.bfloat16)
    size = write_compact(scratch / "dense", scratch / "compact")
    figures = {"bytes": size.compact_bytes, "prefill": "as bf16", "decode": "as bf16"}
    return load_model(str(scratch / "dense")), figures


def _measured(loaded: LoadedModel, asked: dict[str, Any], parts: Splits) -> Evaluation:
    text = measured_part("equal_bytes", asked["part"], parts, asked)
    cut = token_windows(text, loaded.tokenizer, asked["measured_windows"], asked["seqlen"])
    return evaluate_windows(loaded.model, cut)


if __name__ == "__main__":
    main()
