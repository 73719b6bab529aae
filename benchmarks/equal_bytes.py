"""At equal bytes on disk: dense quantised lower, pruned quantised higher, zeros in compact form.

Every GGUF file is written by `autoprune export`; its perplexity is that of the dequantised weights
through our own evaluation, its speed that of llama.cpp. Zeros are in bfloat16, as many as make the
compact checkpoint as large as the dense file beside it; it computes nothing until it is turned back
into a folder of the dense size. The smaller model is a folder (--smaller), or --model by --scheme.
Each row is a process of its own; --resume goes on after a stop.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from autoprune.digest import digest_json
from benchmarks.evidence.records import LOSSES
from benchmarks.evidence.writing import write_record
from benchmarks.measured import OUT, Rounds, code_digest, run_fresh
from benchmarks.table import publish

ROW = "benchmarks.equal_bytes_row"
BUDGET = "equal bytes"
_NAME = "equal_bytes"


def main() -> None:
    """Measure what is missing and publish."""
    from autoprune.models.reference import DEMO_MODEL

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEMO_MODEL, help="dense model")
    parser.add_argument("--smaller", action="append", help="smaller folder; may be repeated")
    parser.add_argument("--scheme", default="depth+recover", help="of a folder made here")
    parser.add_argument("--share", type=float, default=0.2, help="of the blocks' parameters")
    parser.add_argument("--dense-types", default="f16,q8_0,q5_0,q4_0", help="of the dense files")
    parser.add_argument("--types", default="q8_0,q5_1,q5_0", help="of the smaller model's files")
    parser.add_argument("--measured-windows", type=int, default=20)
    parser.add_argument("--calibration-windows", type=int, default=16)
    parser.add_argument("--seqlen", type=int, default=512, help="tokens of each window")
    parser.add_argument("--recipe", default="wanda+sparsegpt:select=own", help="of the zeros")
    parser.add_argument("--corpus", default="wikipedia-sample")
    parser.add_argument("--part", choices=("selection", "sealed"), default="selection")
    parser.add_argument("--text-split", type=int, default=0, help="number of the sealed set")
    parser.add_argument("--record", type=Path, help="folder for the raw record")
    parser.add_argument("--resume", action="store_true", help="go on where a run was cut off")
    args = parser.parse_args()
    shared = {key: value for key, value in vars(args).items() if key not in ("resume", "record")}
    options = [f"{key}={value}" for key, value in sorted(shared.items())]
    rounds = Rounds(_NAME, options, resume=args.resume)

    def measure(name: str, ref: str, **asked: Any) -> dict[str, Any]:
        rounds.run(name, "process_s", ROW, json.dumps({**shared, **asked, "ref": ref}))
        return {"form": name, **rounds.runs[name][0]}

    sizes = run_fresh(ROW, json.dumps({"what": "sizes", "ref": args.model}))
    found: list[dict[str, Any]] = []
    for kind in args.dense_types.split(","):
        dense = measure(f"dense {kind}", args.model, what="gguf", type=kind)
        found.append(dense)
        if kind.startswith("q"):
            share = zero_share(sizes["matrices"], sizes["rest"], dense["bytes"])
            name = f"zeros, as large as {kind}"
            zeros = measure(name, args.model, what="zeros", share=share)
            found.append({**zeros, "zeros": share})
    for place in args.smaller or [_made(args, shared)]:
        label = Path(place).name
        for kind in args.types.split(","):
            found.append(measure(f"{label} {kind}", str(place), what="gguf", type=kind))
    publish(_NAME, _title(args), rows(found), runs=rounds.runs)
    if args.record:
        _write(args.record, found)


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
                "zeros": row.get("zeros", "-"),
                "perplexity": row["perplexity"],
                "beside": beside["form"] if beside else "-",
                "x perplexity": row["perplexity"] / beside["perplexity"] if beside else "-",
                "prefill tokens/s": row["prefill"],
                "decode tokens/s": row["decode"],
            }
        )
    return made


def _made(args: argparse.Namespace, shared: dict[str, Any]) -> Path:
    """The smaller model, made once by each version of our code for what it depends on."""
    names = ("model", "scheme", "share", "calibration_windows", "seqlen", "corpus", "text_split")
    made_of = digest_json([code_digest(), *(shared[name] for name in names)])
    scheme = args.scheme.replace("+", " + ")
    folder = OUT / _NAME / made_of[:16] / f"{scheme} {args.share:.0%}"
    if not (folder / "config.json").is_file():
        asked = {**shared, "what": "smaller", "ref": args.model, "folder": str(folder)}
        run_fresh(ROW, json.dumps(asked))
    return folder


def _write(folder: Path, found: list[dict[str, Any]]) -> None:
    """Losses of each window; bytes, zeros and speed of each form stand in ``record.json``."""
    losses = {row["form"]: {BUDGET: {"0": row["nll"]}} for row in found}
    kept = ("bytes", "zeros", "prefill", "decode", "others")
    write_record(
        folder,
        LOSSES,
        "python -m benchmarks equal_bytes --record evidence/equal-bytes",
        ("losses.json", {"methods": losses}),
        private=("--smaller",),
        forms={row["form"]: {key: row[key] for key in kept if key in row} for row in found},
    )


def _title(args: argparse.Namespace) -> str:
    return (
        f"{Path(args.model).name} at equal bytes; perplexity on {args.measured_windows} x "
        f"{args.seqlen} tokens of the {args.part} part of split {args.text_split}, "
        "tokens/s of llama.cpp for a prompt of 128 and 32 new tokens"
    )
