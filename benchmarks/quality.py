"""The presets of ``autoprune prune --quality``, measured anew: seconds and perplexity.

Writes the set of this machine's class into ``autoprune/quality.json``, which is committed; sets of
other classes stay. Run it alone on the machine. The recipes are those of the class, or of the first
class of the file where it has none, so a preset is changed there first.
"""

import argparse
import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import cast

import torch
from torch import Tensor

from autoprune.candidate import Scoring
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.metrics import build_metric
from autoprune.models.device import default_device
from autoprune.models.loading import LoadedModel, load_model
from autoprune.models.structure import prunable_linears
from autoprune.numerics import hardware
from autoprune.pruning import (
    DenseWeights,
    MetricScore,
    PruningPlan,
    products_class,
    prune,
    vectors_of,
)
from autoprune.quality import DATA, Preset, PresetConditions, presets, speed
from autoprune.storage import write_json
from autoprune.text.corpora import load_corpus
from autoprune.text.corpus import Corpus
from autoprune.text.splits import split
from autoprune.text.windows import token_windows
from benchmarks.table import publish


def measured(
    loaded: LoadedModel,
    text: Corpus,
    unseen: Tensor,
    known: PresetConditions,
    preset: Preset,
    source: str,
) -> Preset:
    """One preset with its figures; the model is dense before and after."""
    scoring = cast(Scoring, preset.statistics)
    plan = PruningPlan.build(known.sparsity, repair=preset.repair, scoring=scoring)
    count = preset.windows + plan.repair.fresh_windows
    tokens = token_windows(text, loaded.tokenizer, count, known.seqlen)
    dense = evaluate_windows(loaded.model, unseen).perplexity
    layers = prunable_linears(loaded.model)
    with DenseWeights(layers, vectors_of(loaded.model).values()):
        outcome = prune(
            loaded.model,
            MetricScore(build_metric(preset.metric)),
            plan,
            windows=tokens[: preset.windows],
            fresh=tokens[preset.windows :],
            layers=layers,
        )
        perplexity = evaluate_windows(loaded.model, unseen).perplexity
    return replace(
        preset, seconds=outcome.seconds, perplexity=perplexity, dense=dense, source=source
    )


def main() -> None:
    """Measure all presets, print a table and write the data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measured-windows", type=int, default=20, help="of 512 tokens")
    parser.add_argument("--split", type=int, default=0, help="number of the text's split")
    args = parser.parse_args()
    device = torch.device(default_device())
    own = products_class(device.type)
    known, entries = presets(own)
    loaded = load_model(known.model, device=str(device))
    parts = split(load_corpus("wikipedia-sample"), args.split)
    unseen = token_windows(parts.selection, loaded.tokenizer, args.measured_windows, known.seqlen)
    source = (
        f"{len(unseen)} x {known.seqlen} tokens of the selection part of wikipedia-sample, split "
        f"{args.split}: python -m benchmarks quality"
    )
    gflops = speed(device.type, 2.0)
    found = []
    for preset in entries:
        found.append(measured(loaded, parts.calibration, unseen, known, preset, source))
        now = found[-1]
        print(f"{now.name}: {now.perplexity:.2f}, {now.seconds:.1f} s", flush=True)
    # Recovery's part is what the same recipe takes less without it.
    plain = {p.recipe: p.seconds for p in found}
    found = [
        replace(p, recovery_seconds=max(0.0, p.seconds - plain[whole]))
        if (whole := p.recipe.partition("+recover")[0]) in plain and whole != p.recipe
        else p
        for p in found
    ]
    conditions = replace(
        known,
        parameters=loaded.model.num_parameters(),
        gflops=round(gflops, 1),
        machine=_machine(device),
        date=datetime.now(UTC).date().isoformat(),
    )
    made = {"measured": asdict(conditions), "presets": [asdict(p) for p in found], "products": own}
    classes = json.loads(DATA.read_text(encoding="utf-8"))["classes"]
    others = [known for known in classes if known["products"] != own]
    write_json(DATA, {"classes": [*others, made]})
    rows = [
        {"quality": p.name, "recipe": p.recipe, "perplexity": p.perplexity, "seconds": p.seconds}
        for p in found
    ]
    publish("quality", f"Presets at {known.sparsity:.0%}, dense {found[0].dense:.2f}", rows)


def _machine(device: torch.device) -> str:
    here = hardware()
    words = f"{here['processor']}, {here['threads']} threads"
    return words if device.type == "cpu" else f"{here.get('accelerator', device.type)}, {words}"
