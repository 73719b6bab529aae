"""At equal bytes on disk: dense quantised lower, pruned quantised higher, zeros in compact form.

Every GGUF file is written by `autoprune export`; its perplexity is that of the dequantised weights
through our own evaluation, its speed that of llama.cpp. Zeros are in bfloat16, as many as make the
compact checkpoint as large as the dense file beside it; it computes nothing until it is turned back
into a folder of the dense size. The pruned model is a folder (--pruned), or --model without six of
its blocks, as the cut leaves it. Each row is a process of its own; --resume goes on after a stop.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.measured import OUT, Rounds, run_fresh
from benchmarks.table import publish

ROW = "benchmarks.equal_bytes_row"
# Chosen by the perplexity without each block alone, on six windows.
DROPPED = "4,5,7,12,14,17"
_NAME = "equal_bytes"
_UNUSED = ("-", "1", "selection", "1", "-")


def main() -> None:
    """Measure what is missing and publish."""
    from autoprune.models.reference import DEMO_MODEL

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEMO_MODEL, help="dense model")
    parser.add_argument("--pruned", action="append", help="pruned folder; may be repeated")
    parser.add_argument("--drop", default=DROPPED, help="blocks to leave out where none is given")
    parser.add_argument("--dense-types", default="q8_0,q5_0,q4_0", help="types of the dense files")
    parser.add_argument("--types", default="q8_0,q5_1,q5_0", help="types of the pruned files")
    parser.add_argument(
        "--measured-windows", dest="windows", type=int, default=20, help="of 512 tokens"
    )
    parser.add_argument(
        "--calibration-windows", dest="samples", type=int, default=16, help="of 512 tokens"
    )
    parser.add_argument("--recipe", default="wanda+sparsegpt:select=own", help="of the zeros")
    parser.add_argument("--part", choices=("selection", "sealed"), default="selection")
    parser.add_argument("--resume", action="store_true", help="go on where a run was cut off")
    args = parser.parse_args()
    options = [f"{key}={value}" for key, value in sorted(vars(args).items()) if key != "resume"]
    rounds = Rounds(_NAME, options, resume=args.resume)
    shared = (str(args.windows), args.part, str(args.samples), args.recipe)

    def measure(what: str, ref: str, how: str, name: str) -> dict[str, Any]:
        rounds.run(name, "process_s", ROW, what, ref, how, *shared)
        return {"form": name, **rounds.runs[name][0]}

    sizes = run_fresh(ROW, "sizes", args.model, *_UNUSED)
    found: list[dict[str, Any]] = []
    for kind in args.dense_types.split(","):
        dense = measure("gguf", args.model, kind, f"dense {kind}")
        share = zero_share(sizes["matrices"], sizes["rest"], dense["bytes"])
        zeros = measure("zeros", args.model, str(share), f"zeros {share:.1%} compact, of {kind}")
        found += [dense, zeros]
    for place in args.pruned or [str(_dropped(args.model, args.drop))]:
        label = Path(place).name
        for kind in args.types.split(","):
            found.append(measure("gguf", place, kind, f"{label} {kind}"))
    publish(_NAME, _title(args), rows(found), runs=rounds.runs)


def zero_share(matrices: int, rest: int, target: int) -> float:
    """Share of zeros that makes a compact checkpoint in 16 bits as large as ``target``.

    Args:
        matrices: Prunable weights: a bit each, and two bytes for each that stays.
        rest: All other weights, two bytes each.
        target: Bytes.
    """
    kept = (target - 2 * rest - matrices / 8) / (2 * matrices)
    return round(min(max(1 - kept, 0.0), 0.99), 4)


def rows(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The table, the largest first, each form beside the smallest dense file that is as large."""
    dense = [row for row in found if row["form"].startswith("dense ")]
    made = []
    for row in sorted(found, key=lambda row: -int(row["bytes"])):
        # One percent for metadata.
        large = [other for other in dense if 1.01 * other["bytes"] >= row["bytes"]]
        beside = min(large, key=lambda other: int(other["bytes"]), default=None)
        if row in dense:
            beside = None
        made.append(
            {
                "form": row["form"],
                "bytes": f"{row['bytes']:,}",
                "perplexity": row["perplexity"],
                "beside": beside["form"] if beside else "-",
                "x perplexity": row["perplexity"] / beside["perplexity"] if beside else "-",
                "prefill tokens/s": row["prefill"],
                "decode tokens/s": row["decode"],
            }
        )
    return made


def _dropped(model: str, drop: str) -> Path:
    folder = OUT / f"without-{drop.replace(',', '-')}"
    if not (folder / "config.json").is_file():
        run_fresh(ROW, "drop", model, f"{drop}:{folder}", *_UNUSED[1:])
    return folder


def _title(args: argparse.Namespace) -> str:
    return (
        f"{Path(args.model).name} at equal bytes; perplexity on {args.windows} x 512 tokens of the "
        f"{args.part} split, tokens/s of llama.cpp for a prompt of 128 and 32 new tokens"
    )
