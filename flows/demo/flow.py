"""A smaller dense model after the champion of a search: the demo's second half."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow

from autoprune.bench.smaller import Shrinking
from autoprune.models.record import DENSE_COMPARISON
from autoprune.plain_text import shell_line
from autoprune.schemes.card import removed
from flows.search.params import SearchParams
from flows.terminal import console
from flows.terminal.output import pairs
from tasks.allocation import split_windows
from tasks.calibrate import load_model
from tasks.second_model import make_second_model
from tasks.state import State
from tasks.switches import computing_on
from tasks.workbench import Workbench, opened

# Sized for a minute on two cores; `depth+recover` with the perplexity of every block and fifty
# steps takes three and gives a better model.
SCHEME = "depth:criterion=influence+recover:steps=10"
SHARE = 0.2
WINDOWS, SEQLEN = 8, 256


@flow(name="second model", persist_result=False)
def second_model(params: SearchParams, out: str) -> dict[str, Any]:
    """Remove blocks of the search's model, recover it, and measure it against the dense one."""
    bench = Workbench(params.model, State.open(), params.seed, console.report)
    with computing_on(params.device), opened(bench):
        load_model(bench, params.model)
        fresh = Shrinking.parse(SCHEME).fresh_windows
        # The number of a fresh split is not known here; nothing sealed is looked at either way.
        number = params.text_split if isinstance(params.text_split, int) else 0
        text = split_windows(bench, params.corpus, WINDOWS, SEQLEN, number, fresh)
        return make_second_model(bench, params.model, SCHEME, SHARE, text, out)


def second_text(record: Mapping[str, Any], folder: Path) -> str:
    """Describe both models side by side."""
    figures = record[DENSE_COMPARISON]
    dense, smaller = figures["dense"], figures["smaller"]
    faster = smaller["tokens_per_second"] / dense["tokens_per_second"]
    shown = pairs(
        ("a second model", f"{record['scheme']}, {removed(record)[0][0]} {removed(record)[0][1]}"),
        ("parameters", f"{smaller['parameters']:,}; dense {dense['parameters']:,}"),
        ("bytes", f"{_mb(smaller)}; dense {_mb(dense)} in the same type"),
        (
            "speed",
            f"{smaller['tokens_per_second']:.1f} tokens per second here; dense "
            f"{dense['tokens_per_second']:.1f}: {faster:.2f} times",
        ),
        (
            "perplexity",
            f"{smaller['perplexity']:.2f}; dense {dense['perplexity']:.2f}, on "
            f"{figures['windows']} windows of the selection part",
        ),
        ("begin", dense["prompt"]),
        ("dense", dense["continues"]),
        ("smaller", smaller["continues"]),
        ("saved", folder),
        (
            "better",
            "autoprune prune MODEL --scheme depth+recover:steps=100 --sparsity 0.2 --out DIR",
        ),
        ("next", shell_line("promote", "--folder", folder)),
    )
    return "\n".join(f" {line}" for line in shown.splitlines())


def _mb(figures: Mapping[str, Any]) -> str:
    return f"{figures['bytes'] / 1e6:,.1f} MB"
