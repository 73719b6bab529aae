"""``autoprune prune``: one model, one metric, one budget."""

import argparse
from collections.abc import Mapping
from typing import Any

from flows.cli_types import add_overwrite, positive_number, share
from flows.output import emit, pairs

NAME = "prune"
HELP = "prune a model once with a given metric and save it"
DESCRIPTION = (
    "Prune a model: calibrate, score every weight, spread the budget, remove exactly that many "
    "weights, save. A metric in a .py file runs only inside the container. The saved folder opens "
    "with AutoModelForCausalLM.from_pretrained."
)
EXAMPLE = (
    "autoprune prune --model ./my-model --metric 'expr:abs(W) * x_norm' --sparsity 0.6 "
    "--corpus text.txt --out pruned"
)

SHOWN_NOTES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--model",
        metavar="REF",
        required=True,
        help="hub id, folder, .gguf file or package:module/file.gguf",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME|FILE.py|expr:...",
        default="wanda",
        help="built-in metric (`autoprune ls metrics`), Python file or formula (default wanda)",
    )
    parser.add_argument(
        "--allocation",
        metavar="NAME",
        default="uniform",
        help="budget per layer (`autoprune ls allocators`; default uniform); auto measures several "
        "on a selection part of the text and takes the best, auto:ramp+sdsa only these; with a "
        "repair the best of them and uniform are repaired and measured again",
    )
    parser.add_argument(
        "--sparsity",
        type=share,
        help="share of zeros, 0 ≤ s < 1 (default 0.6; an N:M pattern has its own)",
    )
    parser.add_argument(
        "--pattern",
        default="unstructured",
        help="unstructured or N:M: N zeros in every M consecutive inputs of a row, such as 2:4",
    )
    parser.add_argument(
        "--group",
        choices=("auto", "row", "matrix", "block", "global"),
        default="auto",
        help="weights that compete with each other (default: the metric's own)",
    )
    parser.add_argument(
        "--solver", default="none", help="repair of the weights that stay (`autoprune ls solvers`)"
    )
    parser.add_argument(
        "--corpus",
        metavar="REF",
        default="wikipedia-sample",
        help="calibration text (`autoprune ls corpora`), self-generated (the model's own samples), "
        "hf:ORG/NAME:SPLIT#COLUMN, or a .txt, .jsonl, .parquet file; its first windows are read",
    )
    parser.add_argument(
        "--held-out",
        metavar="REF[,REF]",
        help="texts that figures will be measured on: calibration text found there is left out",
    )
    parser.add_argument(
        "--samples", type=positive_number, default=16, help="calibration windows (default 16)"
    )
    parser.add_argument(
        "--seqlen", type=positive_number, default=512, help="tokens in a window (default 512)"
    )
    parser.add_argument(
        "--statistics",
        choices=("auto", "sequential", "true-sequential", "dense"),
        default="auto",
        help="sequential: block after block, as in the Wanda paper; true-sequential: and step "
        "after step inside a block (q, k, v; o; gate, up; down), as in SparseGPT, in two to three "
        "times the passes; dense: one pass of the dense model; auto (default): sequential, dense "
        "for .py metrics and the group global",
    )
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="type of the weights in memory and in the saved folder; auto (default) computes in "
        "float32 and saves in the checkpoint's type",
    )
    parser.add_argument("--out", metavar="DIR", help="save the pruned model here")
    add_overwrite(parser, "a saved model that lies in DIR")
    parser.add_argument(
        "--stream",
        action="store_true",
        help="prune from the model's safetensors shards to new ones in --out, one block in memory "
        "at a time; same masks as --statistics sequential",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="prune nothing: say what memory, disk and time --stream would take, from one block",
    )


def run(args: argparse.Namespace) -> int:
    """Prune and print what came out."""
    from flows.engine import open_engine
    from flows.params import PruneParams, checked

    fields = PruneParams.model_fields
    params = checked(PruneParams, {name: getattr(args, name) for name in fields})
    with open_engine(args) as engine:
        from flows.prune import prune

        record = engine.call(prune, params)
    if args.dry_run:
        emit(args, record, _cost(record["estimate"]))
        return 0
    lines = [
        ("zeros", f"{record['zeros']:,} of {record['prunable']:,} prunable weights"),
        (
            "sparsity",
            f"{record['sparsity']:.4%}; of all {record['total']:,} parameters "
            f"{record['sparsity_of_all']:.4%}",
        ),
        ("time", f"{record['seconds']:.1f} s, peak memory {record['peak_rss_mb']:,.0f} MB"),
    ]
    if "allocation_choice" in record:
        lines.append(("allocation", _choice(record["allocation_choice"])))
    if record["recount"]:
        lines.append(("note", record["recount"]))
    notes = record["notes"]
    lines += [("note", note) for note in notes[:SHOWN_NOTES]]
    if len(notes) > SHOWN_NOTES:
        lines.append(("note", f"and {len(notes) - SHOWN_NOTES} more, see --json"))
    if record["out"]:
        lines.append(("saved", record["out"]))
        lines.append(("next", f"autoprune evaluate --model {record['out']} --corpus {args.corpus}"))
    else:
        lines.append(("next", "add --out DIR to keep the pruned model"))
    emit(args, record, pairs(*lines))
    return 0


def _choice(choice: Mapping[str, Any]) -> str:
    """What was chosen, of how many, and what it gains over equal budgets."""
    tried, repaired = choice["tried"], choice["repaired"]
    losses = {item["allocation"]: item["loss"] for item in repaired or tried}
    best = choice["best"]
    said = f"{best}, best of {len(tried)}"
    if repaired:
        other = next(name for name in losses if name != "uniform")
        said += f"; after the repair {other} {losses[other]:.4f} nats per token"
    else:
        said += f": {losses[best]:.4f} nats per token"
    return f"{said} on the selection part, uniform {losses['uniform']:.4f}"


def _cost(cost: Mapping[str, Any]) -> str:
    parts = (f"{name} {size:,.0f}" for name, size in cost["memory_parts_mb"].items())
    return pairs(
        ("memory", f"{cost['memory_mb']:,.0f} MB, within 20 %: {', '.join(parts)}"),
        ("disk", f"{cost['disk_mb']:,.0f} MB written"),
        ("time", f"{cost['seconds']:,.0f} s"),
        ("next", "the same command with --stream and --out DIR instead of --dry-run"),
    )
