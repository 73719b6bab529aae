"""A bench of a comparison for a model in memory, on given windows."""

from collections.abc import Collection
from pathlib import Path

from torch import Tensor

from autoprune import Bench
from autoprune.bench.scoring import HostScorer
from autoprune.bench.text import BenchText
from autoprune.comparison.shared import PoolDraws
from autoprune.models.loading import LoadedModel
from autoprune.statistics.statistics import ALL
from autoprune.store import Store


def pool_bench(
    loaded: LoadedModel, folder: Path, windows: Tensor, expected: Collection[str]
) -> Bench:
    """Draw 0 is the given windows; statistics are shared as by the methods of a comparison."""
    draws = PoolDraws(len(windows), 0, expected)
    text = BenchText("none", windows.shape[1], {})
    bench = Bench("in memory", Store(folder), text, scorer=HostScorer(ALL), calibration=draws)
    vars(bench)["loaded"] = loaded
    bench.windows["calibration"] = windows
    return bench
