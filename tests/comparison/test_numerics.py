"""Figures that a change of the code must not move unnoticed: kept cells would be stale."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import autoprune
from autoprune import numerics
from autoprune.comparison.measuring import needs_of, prune_cell
from autoprune.comparison.methods import parse_method
from autoprune.comparison.plan import Target
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.models.loading import LoadedModel
from tests.support.pool_bench import pool_bench
from tests.support.tiny_subject import tiny_subject

# Mean loss after pruning half of the weights, by method, in float32 throughout. `random` is left
# out: versions of torch draw otherwise.
LOSSES = {
    "magnitude": 6.166218976820669,
    "wanda": 6.347382005183928,
    "ria": 6.232976115519,
    "gblm": 6.262540146227806,
    "sparsegpt": 6.203510953534034,
    "sparsegpt+none": 6.150915857284299,
    "wanda+owl:m=2": 6.289512905382341,
    "wanda+alpha": 6.259451621963131,
    "wanda+dlp": 6.331331924084695,
    "wanda+sdsa": 6.342126786708832,
    "wanda+ramp": 6.299863744166589,
    "wanda+dsnot": 6.361407122304362,
    "wanda+mrp": 6.2960077408821356,
    "wanda+walk:mrp": 6.305266270714421,
    "wanda+sparseswaps": 6.19573708503477,
    "wanda+alps": 6.364411215628348,
    "wanda+sequential": 6.398025418481519,
    "wanda+ebft": 6.343670239371638,
    "wanda+sparsegpt:select=own+ebft": 6.177087505017558,
    "wanda+sparsegpt:select=own+ebft+sequential": 6.177087505017558,
}
# The number that they are kept under, and the version of torch that computed them.
NUMBER = 5
TORCH = "2.13"
# Not to the bit, since processors add in different orders: AVX2 against AVX-512 moves these figures
# by 2e-8. Products in bfloat16 move those of tuned blocks by 2e-5 and more, so
# they are switched off.
TOLERANCE = 1e-5


def fixed_subject() -> LoadedModel:
    """A tiny Llama whose weights follow from a formula, whatever initialises models."""
    subject = tiny_subject()
    with torch.no_grad():
        for place, parameter in enumerate(subject.model.parameters()):
            steps = torch.arange(parameter.numel(), dtype=torch.float64) + 1
            values = torch.sin(steps * steps * (0.61 + 0.01 * place)).reshape(parameter.shape)
            scale, middle = (0.1, 1.0) if parameter.ndim == 1 else (0.3, 0.0)
            parameter.copy_(middle + scale * values)
    return subject


def fixed_windows(count: int, start: int) -> Tensor:
    steps = torch.arange(count * 32) + start
    return (steps * steps * 7 + steps * 3) % 251 + 2


def advice() -> str:
    """What to do about figures that moved."""
    now = torch.__version__
    if now.startswith(f"{TORCH}."):
        return (
            "figures changed: raise NUMERICS in autoprune/numerics.py, and write NUMBER and LOSSES "
            "anew"
        )
    return (
        f"figures changed under torch {now}; they were computed by {TORCH}. Run this test with "
        f"torch {TORCH}: where it passes, torch moved them, and LOSSES and TORCH are written anew "
        "(NUMERICS stays, since kept cells name torch's version); where it fails, our code did, "
        "and NUMERICS in autoprune/numerics.py is raised too"
    )


@pytest.mark.parametrize(
    ("version", "shown"), [("2.13.0+cpu", "raise NUM"), ("2.14.1", "by 2.13.")]
)
def test_the_error_tells_torch_from_our_code(
    monkeypatch: pytest.MonkeyPatch, version: str, shown: str
) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    assert shown in advice()


def test_figures_are_those_that_are_kept_under_this_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    windows = fixed_windows(6, 0).reshape(6, 32)
    unseen = fixed_windows(4, 999).reshape(4, 32)
    methods = [parse_method(name) for name in LOSSES]
    expected = frozenset[str]().union(*map(needs_of, methods))
    bench = pool_bench(fixed_subject(), tmp_path, windows, expected)
    found = {}
    for method in methods:
        with bench.dense:
            prune_cell(bench, method, Target(0.5))
            nll = evaluate_windows(bench.loaded.model, unseen).nll
        found[method.name] = sum(nll) / len(nll)
    assert found == pytest.approx(LOSSES, rel=TOLERANCE), advice()
    assert numerics.NUMERICS == NUMBER, advice()


def test_what_decides_figures_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "version", lambda name: f"of {name}")
    assert numerics.computed_by() == {
        "autoprune": autoprune.__version__,
        "numerics": str(NUMBER),
        "torch": "of torch",
        "transformers": "of transformers",
    }
