"""Speed and size of a model on this machine."""

import resource
import statistics
import sys
import time
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Speed:
    """Throughput of forward passes.

    Args:
        tokens_per_second: Median over the repeats.
        spread: Largest minus smallest, as a share of the median.
        batch: Windows of one pass.
        threads: Threads torch used.
    """

    tokens_per_second: float
    spread: float
    batch: int
    threads: int


@torch.no_grad()
def measure_speed(
    model: PreTrainedModel, windows: Tensor, *, batch: int = 4, repeats: int = 3
) -> Speed:
    """Time forward passes over the windows, after one that is not counted.

    Args:
        model: In eval mode.
        windows: Token ids, ``[n, s]``.
        batch: Windows of one pass.
        repeats: Timed passes over all windows.
    """
    rates: list[float] = []
    for number in range(repeats + 1):
        started = time.perf_counter()
        for part in torch.split(windows, batch):
            logits = model(input_ids=part.to(model.device), use_cache=False).logits
            # Reading a value waits for the device.
            float(logits[0, -1, 0])
        if number:
            rates.append(windows.numel() / (time.perf_counter() - started))
    median = statistics.median(rates)
    return Speed(median, (max(rates) - min(rates)) / median, batch, torch.get_num_threads())


def peak_rss_mb() -> float:
    """Largest resident memory of this process so far, in 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
