"""Published perplexities, reproduced: dense, magnitude, Wanda and SparseGPT within one percent.

Protocol of the papers: WikiText-2 test joined by an empty line, tokenised once, windows that do not
overlap; 128 random crops of C4 documents, drawn as the Wanda paper's loader draws them. Needs the
model hub, and a graphics card for the 7B models; what cannot be loaded or pruned is skipped with
its reason. Figures are kept as they come: the same code does not measure them again.
"""

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from autoprune.errors import UsageError, reason_of
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.metrics import build_metric
from autoprune.models.loading import LoadedModel, load_model
from autoprune.models.structure import prunable_linears
from autoprune.pruning import DenseWeights, MetricScore, PruningPlan
from autoprune.pruning import prune as prune_model
from autoprune.text.corpora import load_corpus
from autoprune.text.hub import C4
from autoprune.text.windows import token_windows
from benchmarks.known import Known
from benchmarks.measured import OUT, code_digest
from benchmarks.table import Goal, publish

TOLERANCE = 0.01
SAMPLES = 128
DENSE, MAGNITUDE, WANDA, SPARSEGPT = METHODS = ("dense", "magnitude", "wanda", "sparsegpt")
_ALL_WINDOWS = 1 << 40
# Of a hundred C4 documents about one is longer than 4,096 tokens.
_TRIES = 10_000


@dataclass(frozen=True)
class Target:
    """One published figure.

    Args:
        model: Hub id.
        method: One of :data:`METHODS`.
        pattern: ``unstructured`` at half the weights, or N:M.
        seqlen: Tokens of a window, in calibration and in the test.
        perplexity: On WikiText-2.
        source: Where it is published.
    """

    model: str
    method: str
    pattern: str
    seqlen: int
    perplexity: float
    source: str


def _figures(
    model: str, pattern: str, seqlen: int, source: str, *values: float | None
) -> list[Target]:
    """Targets of one model in the order of :data:`METHODS`; None is not published."""
    return [
        Target(model, method, pattern if method != DENSE else "-", seqlen, value, source)
        for method, value in zip(METHODS, values, strict=True)
        if value is not None
    ]


_HALF = "unstructured"
TARGETS: Sequence[Target] = [
    *_figures("facebook/opt-125m", "2:4", 2048, "AST, table of OPT", 27.76, None, 60.91, 45.58),
    *_figures("bigscience/bloom-560m", _HALF, 2048, "wanda, issue 7", 22.42, None, 30.74, 28.92),
    *_figures("huggyllama/llama-7b", _HALF, 2048, "Wanda, 2306.11695", 5.68, 17.29, 7.26, 7.22),
    *_figures("meta-llama/Llama-2-7b-hf", _HALF, 4096, "wanda, README", 5.12, 14.89, 6.42, 6.51),
    *_figures("meta-llama/Llama-2-7b-hf", "2:4", 4096, "wanda, README", None, 54.59, 11.02, 10.17),
    *_figures("meta-llama/Meta-Llama-3-8B", _HALF, 2048, "RIA, README", 6.14, 2499.39, 10.82, 9.40),
]


def main() -> None:
    """Reproduce what can be loaded, and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="TEXT", default="", help="models whose id holds this")
    parser.add_argument("--method", choices=METHODS, help="this method only")
    parser.add_argument(
        "--dtype", choices=("float16", "bfloat16", "float32"), default="float16",
        help="type of the weights; the papers used float16",
    )  # fmt: skip
    options = parser.parse_args()
    chosen = [
        target
        for target in TARGETS
        if options.only.lower() in target.model.lower() and options.method in (None, target.method)
    ]
    if not chosen:
        parser.error(f"no target for {options.only!r}; there are {_names(TARGETS)}")
    known: Known[float] = Known(OUT / "published.runs.jsonl", [code_digest(), options.dtype])
    rows: list[dict[str, Any]] = []
    for model in dict.fromkeys(target.model for target in chosen):
        mine = [target for target in chosen if target.model == model]
        for row in reproduce(model, mine, getattr(torch, options.dtype), known):
            line = f"{row['measured']} {row['note']}"
            print(f"{model} {row['method']} {row['pattern']}: {line}", file=sys.stderr, flush=True)
            rows.append(row)
    measured = [row for row in rows if row["measured"] != "-"]
    goals = [
        Goal(f"{row['model']} {row['method']} {row['pattern']}: distance", row["off"], TOLERANCE)
        for row in measured
    ]
    title = f"Published perplexities on WikiText-2: {len(measured)} of {len(rows)} measured"
    publish("published", title, rows, goals, dtype=options.dtype)


def reproduce(
    model: str, targets: Sequence[Target], dtype: torch.dtype, known: Known[float]
) -> Iterator[dict[str, Any]]:
    """One row per target, as it comes; skipped with the reason where it cannot be measured.

    Args:
        model: Hub id.
        targets: Figures of this model.
        dtype: Type of the weights.
        known: Keeps what is measured.
    """
    missing = []
    for target in targets:
        value = known.get(*_key(target))
        if value is None:
            missing.append(target)
        else:
            yield _row(target, value, target.source)
    if not missing:
        return
    try:
        loaded = load_model(model, dtype=dtype)
        test = load_corpus("wikitext2")
        seqlen = targets[0].seqlen
        windows = token_windows(test, loaded.tokenizer, _ALL_WINDOWS, seqlen, each_begins=False)
        needs_draw = any(target.method in (WANDA, SPARSEGPT) for target in missing)
        calibration = crops(loaded.tokenizer, SAMPLES, seqlen) if needs_draw else windows[:1]
        dense = DenseWeights(prunable_linears(loaded.model))
    except Exception as error:
        yield from (_skipped(target, error) for target in missing)
        return
    for target in missing:
        try:
            with dense:
                prune(loaded, target, calibration)
                result = evaluate_windows(loaded.model, windows, batch=1)
        except Exception as error:
            # SparseGPT needs the most memory; what others measured stands all the same.
            yield _skipped(target, error)
            continue
        yield _row(target, known.put(result.perplexity, *_key(target)), target.source)


def prune(loaded: LoadedModel, target: Target, calibration: Tensor) -> None:
    """Prune in place as the figure's authors did: whole-matrix magnitude, row-wise Wanda."""
    if target.method == DENSE:
        return
    pattern = target.pattern
    if target.method == MAGNITUDE:
        plan = PruningPlan.build(0.5, group="matrix", pattern=pattern)
        prune_model(loaded.model, MetricScore(build_metric("magnitude")), plan)
        return
    if target.method == WANDA:
        metric, plan = build_metric("wanda"), PruningPlan.build(0.5, group="row", pattern=pattern)
    else:
        metric = build_metric("magnitude")
        plan = PruningPlan.build(
            0.5, group="matrix", repair="sparsegpt:select=own", pattern=pattern
        )
    plan = replace(plan, scoring="sequential")
    prune_model(loaded.model, MetricScore(metric), plan, windows=calibration)


def crops(tokenizer: Any, count: int, seqlen: int, seed: int = 0) -> Tensor:
    """Random crops of C4 documents longer than a window, int64 ``[count, seqlen]``.

    The order of draws is that of the Wanda paper's loader: a document, again until one is long
    enough, then a place in it.

    Raises:
        PrerequisiteError: If C4 cannot be fetched.
        UsageError: If no document is long enough.
    """
    documents = C4.fetch("train")
    rng = random.Random(seed)
    found = [_crop(tokenizer, documents, seqlen, rng) for _ in range(count)]
    return torch.tensor(found, dtype=torch.int64)


def _crop(tokenizer: Any, documents: Any, seqlen: int, rng: random.Random) -> list[int]:
    for _ in range(_TRIES):
        text = documents[rng.randint(0, len(documents) - 1)][C4.column]
        ids: list[int] = tokenizer(text)["input_ids"]
        if len(ids) > seqlen:
            start = rng.randint(0, len(ids) - seqlen - 1)
            return ids[start : start + seqlen]
    raise UsageError(
        f"of {_TRIES} documents drawn from C4 none is longer than {seqlen} tokens; take windows of "
        "2,048 or 4,096 tokens, as the published figures do"
    )


def _skipped(target: Target, error: Exception) -> dict[str, Any]:
    return _row(target, None, f"skipped: {reason_of(error, 160)}")


def _key(target: Target) -> tuple[str, str, str, int]:
    return target.model, target.method, target.pattern, target.seqlen


def _row(target: Target, measured: float | None, note: str) -> dict[str, Any]:
    return {
        "model": target.model, "method": target.method, "pattern": target.pattern,
        "seqlen": target.seqlen, "published": target.perplexity,
        "measured": "-" if measured is None else measured,
        "off": "-" if measured is None else abs(measured / target.perplexity - 1),
        "note": note,
    }  # fmt: skip


def _names(targets: Sequence[Target]) -> str:
    return ", ".join(dict.fromkeys(target.model for target in targets))
