"""What the sandbox costs: starting, validating, and scoring a whole model, against the host.

Layers have the shapes of SmolLM2-135M (210 linears, 106 million weights) and random values.
Run: python benchmarks/sandbox_cost.py [--image bind] [--runs 7]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from sandbox.cell import LayerInput
from sandbox.client import Sandbox
from sandbox.limits import Limits
from sandbox.outcomes import Accepted

BLOCKS = 30
SHAPES = [(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)]
METRICS = {
    "wanda": "def score(W, stats, params):\n    return W.abs() * stats['x_norm']\n",
    "ria": (
        "def score(W, stats, params):\n    m = W.abs()\n"
        "    r = m / m.sum(0, keepdim=True) + m / m.sum(1, keepdim=True)\n"
        "    return r * stats['x_norm'] ** 0.5\n"
    ),
    "row rank": (
        "def score(W, stats, params):\n"
        "    s = W.abs() * stats['x_norm']\n"
        "    return s.argsort(1).argsort(1).float() + s\n"
    ),
}


def main() -> None:
    """Measure and print one JSON record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default="bind", choices=("auto", "bind", "interpreter"))
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()
    # The container computes with one thread; so does the host, to compare walls and not cores.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        layers = write_layers(Path(folder))
        print(json.dumps(measure(Path(folder), layers, args.image, args.runs), indent=2))


def write_layers(folder: Path) -> list[LayerInput]:
    """Write all layer files."""
    layers = []
    for number, (rows, columns) in enumerate(SHAPES * BLOCKS):
        path = folder / f"{number}.safetensors"
        tensors = {"W": torch.randn(rows, columns), "x_norm": torch.rand(columns) + 0.1}
        save_file(tensors, path)
        path.chmod(0o444)
        layers.append(LayerInput(path, (rows, columns)))
    return layers


def measure(folder: Path, layers: list[LayerInput], image: str, runs: int) -> dict[str, object]:
    """Time everything; medians in seconds."""
    record: dict[str, object] = {"weights": sum(a * b for a, b in SHAPES) * BLOCKS, "image": image}
    start = time.perf_counter()
    with Sandbox(inputs=folder, image=image, limits=Limits(), run_id="benchmark") as box:  # type: ignore[arg-type]
        accepted(box.probe(METRICS["wanda"]))
        record["start_to_first_verdict_s"] = time.perf_counter() - start
        record["probe_s"] = timed(lambda: box.probe(METRICS["ria"]), runs)
        record["three_real_layers_twice_s"] = timed(
            lambda: box.score(METRICS["ria"], layers[:3], repeat=True, check_inputs=True), runs
        )
        megabytes = sum(4 * layer.shape[0] * layer.shape[1] for layer in layers) / 1e6
        for name, source in METRICS.items():
            inside = timed(lambda source=source: box.score(source, layers), runs)  # type: ignore[misc]
            outside = [clock(lambda source=source: on_host(source, layers)) for _ in range(runs)]  # type: ignore[misc]
            host = statistics.median(outside)
            record[name] = {
                "sandbox_s": inside,
                "host_s": host,
                "ratio": inside / host,
                "MB_per_s": megabytes / inside,
            }
    return record


def timed(call: Callable[[], object], runs: int) -> float:
    """Median of several calls, each with a container that is ready."""
    times = []
    for _ in range(runs):
        time.sleep(2.5)
        times.append(clock(lambda: accepted(call())))
    return statistics.median(times)


def clock(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def accepted(outcome: object) -> None:
    """Stop when a measured job was turned away."""
    if not isinstance(outcome, Accepted):
        raise SystemExit(f"a measured job was rejected: {outcome}")


def on_host(source: str, layers: list[LayerInput]) -> list[np.ndarray]:
    """The same work without a wall: read, score, check, keep."""
    namespace: dict[str, Callable[..., torch.Tensor]] = {}
    exec(source, namespace)
    results = []
    for layer in layers:
        with safe_open(layer.file, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        scores = namespace["score"](tensors.pop("W"), tensors, {}).numpy()
        assert np.isfinite(scores.min()) and np.isfinite(scores.max())
        results.append(scores)
    return results


if __name__ == "__main__":
    main()
