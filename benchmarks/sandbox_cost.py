"""What the sandbox costs: starting, validating, and scoring a whole model, against the host.

Layers have the shapes of SmolLM2-135M (210 linears, 106 million weights) and random values.
Run: python -m benchmarks sandbox_cost [--image bind] [--runs 7]
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

from sandbox.client import Sandbox
from sandbox.container import LayerInput
from sandbox.limits import Limits
from sandbox.outcomes import Accepted, Rejected

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
# Tells its private memory after the last layer but one; the screen is off for it.
TELL = """
seen = []
def score(W, stats, params):
    seen.append(1)
    if len(seen) == LAYERS:
        lines = open("/proc/self/status").read().splitlines()
        raise ValueError("HELD " + [l for l in lines if l.startswith("RssAnon")][0].split()[1])
    return W.abs() * stats["x_norm"]
""".replace("LAYERS", str(len(SHAPES) * BLOCKS))


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
    with Sandbox(
        inputs=folder,
        image=image,  # type: ignore[arg-type]
        run_id="benchmark",
        screening=False,
    ) as box:
        accepted(box.probe(METRICS["wanda"]))
        record["start_to_first_verdict_s"] = time.perf_counter() - start
        record["probe_s"] = timed(lambda: box.probe(METRICS["ria"]), runs)
        record["three_real_layers_twice_s"] = timed(
            lambda: box.score(METRICS["ria"], layers[:3], repeat=True, check_inputs=True), runs
        )
        megabytes = sum(4 * layer.shape[0] * layer.shape[1] for layer in layers) / 1e6
        for name, source in METRICS.items():
            record[name] = compare(box, source, layers, megabytes, runs)
        record["memory"] = memory(box, layers, megabytes)
    return record


def compare(
    box: Sandbox, source: str, layers: list[LayerInput], megabytes: float, runs: int
) -> dict[str, float]:
    """Sandbox and host by turns, so that what else the machine does falls on both."""
    inside, outside = [], []
    # The first jobs also get the pages for their result; later ones use them again.
    for turn in range(-Limits().warm, runs):
        time.sleep(2.5)
        seconds = clock(lambda: accepted(box.score(source, layers)))
        if turn >= 0:
            inside.append(seconds)
            outside.append(clock(lambda: on_host(source, layers)))
    ratios = [one / other for one, other in zip(inside, outside, strict=True)]
    return {
        "sandbox_s": statistics.median(inside),
        "host_s": statistics.median(outside),
        "ratio": statistics.median(inside) / statistics.median(outside),
        "ratio_of_pairs": statistics.median(ratios),
        "sandbox_best_s": min(inside),
        "host_best_s": min(outside),
        "ratio_of_best": min(inside) / min(outside),
        "MB_per_s": megabytes / statistics.median(inside),
    }


def memory(box: Sandbox, layers: list[LayerInput], megabytes: float) -> dict[str, float]:
    """Private memory that a candidate takes, on the host and in its own process, MB."""
    before = anonymous_megabytes()
    outcome = box.score(METRICS["wanda"], layers)
    accepted(outcome)
    held = anonymous_megabytes() - before
    del outcome
    refusal = box.score(TELL, layers)
    assert isinstance(refusal, Rejected), refusal
    return {
        "weights": megabytes,
        "host_private_while_held": held,
        "in_the_container_private": float(refusal.detail.partition("HELD ")[2].split()[0]) / 1024,
    }


def anonymous_megabytes() -> float:
    """Private memory of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


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
    """Stop when a measured job was rejected."""
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
