"""Prune a randomly initialised 3-billion-parameter llama from shards to shards in little memory.

Three fresh processes: make the shards (bfloat16, about 6 GB), estimate, prune. Everything is
deleted at the end, also when the run is stopped. Needs 14 GB of disk; ``--size tenth`` is a
trial of a minute with 0.4 billion parameters, ``--size 8b`` needs 36 GB.
"""

import argparse
import json
import math
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

from autoprune.metrics import build_metric
from autoprune.pruning import PruningPlan
from autoprune.streaming import StreamJob, estimate, prune_streamed
from benchmarks.measured import OUT, report, run_fresh
from benchmarks.table import Goal, publish

_UNTIED = {"num_key_value_heads": 8, "tie_word_embeddings": False}
SIZES: dict[str, dict[str, int]] = {
    "3b": {"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, **_UNTIED},
    "tenth": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 16},
}
VOCABULARY = 128256
BLOCKS_PER_SHARD = 7
SHARE = 0.6
LIMIT_MB = {"8b": 6000.0}
USUAL_LIMIT_MB = 3000.0
CLOSE = 0.2


def main() -> None:
    """Measure and print; with ``--step`` be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="3b")
    parser.add_argument("--calibration-windows", type=int, default=4)
    parser.add_argument("--seqlen", type=int, default=128, help="tokens in a window")
    parser.add_argument("--allocation", default="uniform")
    parser.add_argument("--repair", default="none")
    parser.add_argument("--step", choices=("make", "estimate", "prune"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step == "make":
        report(**make(args.folder / "dense", args.size))
    elif args.step == "estimate":
        report(**forecast(job_of(args), args.folder))
    elif args.step == "prune":
        report(**prune(job_of(args), args.folder))
    else:
        measure(args)


def measure(args: argparse.Namespace) -> None:
    """Run the steps and compare estimate with measurement."""
    OUT.mkdir(parents=True, exist_ok=True)
    # A signal that ends the process would leave the shards behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(dir=OUT, prefix="streaming-") as folder:
        common = ["--folder", folder, *_options(args)]
        made = _step("make", common)
        guess = _step("estimate", common)
        pruned = _step("prune", common)
    what = (
        f"random llama of {made['parameters'] / 1e9:.2f} billion parameters in bfloat16, "
        f"{args.calibration_windows} x {args.seqlen} tokens, allocation {args.allocation}, repair "
        f"{args.repair}"
    )
    rows = [
        _row("peak memory, MB", guess["memory_mb"], pruned["peak_mb"]),
        _row("disk, MB", guess["disk_mb"], pruned["disk_mb"]),
        _row("seconds", guess["seconds"], pruned["seconds"]),
    ]
    limit = LIMIT_MB.get(args.size, USUAL_LIMIT_MB)
    goals = [Goal("peak memory in MB", pruned["peak_mb"], limit)]
    goals += [
        Goal(f"estimate's error, {row['what']}", abs(row["estimate / measured"] - 1), CLOSE)
        for row in rows
    ]
    goals.append(Goal("weights off the budget", abs(pruned["off_budget"]), 0))
    title = f"Streaming Wanda at 60 %: {what}; others used {pruned['others']:.0%} of the machine"
    publish("streaming", title, rows, goals, runs={"estimate": guess, "prune": pruned})


def _step(name: str, options: list[str]) -> dict[str, Any]:
    figures = run_fresh("benchmarks.streaming", "--step", name, *options)
    print(
        f"{name}: {figures['process_s']:.0f} s, {figures['peak_mb']:.0f} MB, "
        f"others used {figures['others']:.0%}",
        file=sys.stderr,
        flush=True,
    )
    return figures


def _row(what: str, guess: float, found: float) -> dict[str, Any]:
    return {
        "what": what,
        "estimate": guess,
        "measured": found,
        "estimate / measured": guess / found,
    }


def _options(args: argparse.Namespace) -> list[str]:
    """The options of the whole benchmark for one of its processes."""
    names = ("size", "calibration_windows", "seqlen", "allocation", "repair")
    return [text for n in names for text in (f"--{n.replace('_', '-')}", str(getattr(args, n)))]


def config_of(size: str) -> LlamaConfig:
    """The shapes of a size; heads have 128 dimensions."""
    known = SIZES[size]
    heads = {
        "num_attention_heads": known["hidden_size"] // 128,
        "num_key_value_heads": known["hidden_size"] // 384 or 1,
        "tie_word_embeddings": True,
    }
    return LlamaConfig(
        vocab_size=VOCABULARY,
        head_dim=128,
        max_position_embeddings=4096,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
        **heads | known,
    )


def make(folder: Path, size: str) -> dict[str, int]:
    """Write shards of normally distributed weights, a few blocks at a time."""
    config = config_of(size)
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    table = (VOCABULARY, config.hidden_size)
    parts: list[dict[str, tuple[int, ...]]] = [{"model.embed_tokens.weight": table}]
    for start in range(0, config.num_hidden_layers, BLOCKS_PER_SHARD):
        stop = min(start + BLOCKS_PER_SHARD, config.num_hidden_layers)
        parts.append({k: v for index in range(start, stop) for k, v in _shapes(config, index)})
    parts[-1]["model.norm.weight"] = (config.hidden_size,)
    if not config.tie_word_embeddings:
        parts.append({"lm_head.weight": table})
    generator = torch.Generator().manual_seed(0)
    places: dict[str, str] = {}
    for number, shapes in enumerate(parts, 1):
        file = f"model-{number:05}-of-{len(parts):05}.safetensors"
        tensors = {name: _random(shape, generator) for name, shape in shapes.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        places.update(dict.fromkeys(shapes, file))
    numel = sum(math.prod(shape) for shapes in parts for shape in shapes.values())
    index = {"metadata": {"total_size": 2 * numel}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return {"parameters": numel}


def _shapes(config: LlamaConfig, index: int) -> list[tuple[str, tuple[int, ...]]]:
    hidden, wide, head = config.hidden_size, config.intermediate_size, config.head_dim
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    shapes = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (wide, hidden),
        "mlp.up_proj": (wide, hidden),
        "mlp.down_proj": (hidden, wide),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    return [(f"model.layers.{index}.{name}.weight", shape) for name, shape in shapes.items()]


def _random(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    return torch.randn(shape, generator=generator).mul_(0.02).to(torch.bfloat16)


def job_of(args: argparse.Namespace) -> StreamJob:
    """The job; random tokens serve a random model."""
    generator = torch.Generator().manual_seed(1)
    shape: Any = (args.calibration_windows, args.seqlen)
    windows = torch.randint(VOCABULARY, shape, generator=generator)
    plan = PruningPlan.build(
        SHARE, allocation=args.allocation, repair=args.repair, scoring="sequential"
    )
    return StreamJob(args.folder / "dense", windows, build_metric("wanda"), plan)


def forecast(job: StreamJob, folder: Path) -> dict[str, Any]:
    """The estimate, and what it cost."""
    start = time.perf_counter()
    cost = estimate(job, folder)
    return {
        "memory_mb": cost.memory_bytes / 1e6,
        "disk_mb": cost.disk_bytes / 1e6,
        "seconds": cost.seconds,
        "parts_mb": {name: size / 1e6 for name, size in cost.parts.items()},
        "took": time.perf_counter() - start,
    }


def prune(job: StreamJob, folder: Path) -> dict[str, Any]:
    """The run."""
    made = prune_streamed(job, folder / "pruned")
    files = (folder / "pruned").iterdir()
    return {
        "seconds": made.seconds,
        "disk_mb": sum(file.stat().st_size for file in files) / 1e6,
        "off_budget": made.zeros - round(SHARE * made.prunable),
        "sparsity_in_shards": made.saved.zeros.sparsity,
    }


if __name__ == "__main__":
    main()
