"""The benefit of a pruned model: its size against the source's, sample text, who gains speed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoprune.plain_text import in_markdown
from autoprune.report.canvas import plain
from autoprune.report.parts import Part

# Longest text shown of a sample.
SHOWN = 400
SPARSE_KERNELS = (
    "2:4 zeros are computed faster by sparse tensor cores (NVIDIA Ampere or newer) through kernels "
    "made for them, such as torch's semi-structured ones"
)
NO_SPEED = (
    "Zeros alone make it no faster in transformers, vLLM or llama.cpp, and its files are no "
    "smaller: a runtime for sparse weights, or autoprune compact for storage, uses them"
)

FEWER_BLOCKS = (
    "A token passes through fewer blocks, so that there is less to compute; autoprune evaluate "
    "--suite cost measures what this gains"
)
NARROWER = (
    "Its matrices are narrower, which gains speed only where a runtime has kernels for their "
    "sizes; autoprune evaluate --suite cost measures it"
)
AS_MANY_EXPERTS = "It is no faster: a token passes through as many experts as before"
# Rates in tokens per second, and in words what they are of.
_RATES = {"prefill": "reads", "decode": "writes"}


@dataclass(frozen=True)
class Sample(Part):
    """How both models continue the same words greedily.

    Args:
        prompt: The words, from selection text.
        dense: What the model before pruning writes.
        pruned: What the pruned one writes.
    """

    prompt: str
    dense: str
    pruned: str


@dataclass(frozen=True)
class Outcome(Part):
    """What was saved.

    Args:
        source_bytes: Size of the weight files that the search started from.
        saved_bytes: Size of the winner's weight files.
        dtype: Type of its matrices in the files.
        samples: A few continuations.
        measured_in: Type in which its figures were measured, if rounding to that of the files
            changed a weight; else empty.
        dense_rate: Tokens per second of the dense model, where a budget had them timed; else 0.
        faster: Times as many that a model of the winner's shapes wrote there; else 0.
        beside: Figures of a smaller winner and of the dense model, measured side by side; else
            empty.
    """

    source_bytes: int
    saved_bytes: int
    dtype: str
    samples: tuple[Sample, ...] = ()
    measured_in: str = ""
    dense_rate: float = 0.0
    faster: float = 0.0
    beside: Mapping[str, Any] = field(default_factory=dict)


def samples_table(samples: Sequence[Sample], of: str = "selection") -> str:
    """Greedy continuations by both models, as markdown."""
    parts = [f"{of.capitalize()} text, continued by the most probable token."]
    for sample in samples:
        lines = (
            ("text", sample.prompt),
            ("unpruned", sample.dense),
            ("this model", sample.pruned),
        )
        rows = [f"| {name} | {in_markdown(text, SHOWN)} |" for name, text in lines]
        parts.append("\n".join(["|  |  |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def what_it_writes(record: Mapping[str, Any]) -> str:
    """:func:`samples_table` of a folder's record, with its heading; empty if there are none."""
    found = record.get("writes")
    if found is None:
        return ""
    samples = [Sample(**sample) for sample in found["samples"]]
    return f"## What it writes\n\n{samples_table(samples, found['part'])}"


def sizes(outcome: Outcome, quantised: str) -> str:
    """Size before and after, in one sentence."""
    kind = f" ({plain(quantised, 20)})" if quantised else ""
    times = f"{outcome.saved_bytes / max(1, outcome.source_bytes):.2g}"
    relative_size = "as large as the source" if times == "1" else f"{times} times the source"
    return (
        f"Weights: {megabytes(outcome.source_bytes)}{kind} in, "
        f"{megabytes(outcome.saved_bytes)} ({outcome.dtype}) out, {relative_size}"
    )


def rounding(outcome: Outcome) -> str:
    """Say that the figures are those of the weights before they were saved; empty if they agree."""
    if not outcome.measured_in:
        return ""
    return (
        f"Its figures are of weights in {outcome.measured_in}, before they were rounded to "
        f"{outcome.dtype} on saving; autoprune evaluate measures the files"
    )


def speed(pattern: str, scheme: str = "", outcome: Outcome | None = None) -> str:
    """Which runtime gains what, in one sentence; what was measured, where it was."""
    measured = []
    if outcome is not None and outcome.faster:
        measured.append(
            f"Its shapes wrote {_rates(outcome)} tokens a second on the search's machine, prompt "
            f"included: {outcome.faster:.2f} times"
        )
    if outcome is not None and outcome.beside:
        measured.append(_measured(outcome.beside))
    if measured:
        return ". ".join(measured)
    if scheme:
        return _of_scheme(scheme)
    return SPARSE_KERNELS if pattern == "2:4" else NO_SPEED


def _measured(both: Mapping[str, Any]) -> str:
    """Cost and quality of both models, in one sentence."""
    own, dense = both["smaller"], both["dense"]
    known = {name: what for name, what in _RATES.items() if name in own and name in dense}
    rates = (f"{what} {own[name]:,.1f} ({dense[name]:,.1f})" for name, what in known.items())
    return (
        "Measured in turns with the dense model, whose figures are in brackets, it "
        f"{' and '.join(rates)} tokens a second, takes {megabytes(own['bytes'])} "
        f"({megabytes(dense['bytes'])} in the same type) and has perplexity "
        f"{float(own['perplexity']):.2f} ({float(dense['perplexity']):.2f}) on "
        f"{both['windows']} selection windows"
    )


def _rates(outcome: Outcome) -> str:
    own = outcome.faster * outcome.dense_rate
    return f"{own:.1f} against the dense model's {outcome.dense_rate:.1f}"


def _of_scheme(scheme: str) -> str:
    """Who gains speed, in one sentence."""
    names = {part.partition(":")[0] for part in scheme.split("+")}
    if "width" in names:
        return NARROWER
    return FEWER_BLOCKS if "depth" in names else AS_MANY_EXPERTS


def megabytes(count: int) -> str:
    """``98.2 MB``."""
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.2f} GB"
