"""Zeros of every method that published tables name, and the check of a cell before it is kept."""

from pathlib import Path

import pytest
import torch

from autoprune.comparison.measuring import check_zeros, needs_of, prune_cell
from autoprune.comparison.methods import parse_methods
from autoprune.comparison.plan import Target
from autoprune.digest import windows_digest
from autoprune.errors import AutopruneError
from autoprune.models.structure import prunable_linears
from tests.support.pool_bench import pool_bench
from tests.support.tiny_subject import tiny_subject

# What published tables name, and the combinations that a fair table has beside them.
NAMED = (
    "magnitude", "wanda", "ria+row", "sparsegpt", "sparsegpt+sequential", "wanda+mrp",
    "wanda+ramp+mrp", "wanda+ebft", "wanda+sparsegpt:select=own+ebft",
    "wanda+mrp:select=own+ebft", "wanda+alps+ebft", "wanda+sdsa",
)  # fmt: skip


def test_every_method_that_tables_name_is_exact(tmp_path: Path) -> None:
    windows = torch.arange(4 * 32).reshape(4, 32) * 7 % 251 + 2
    methods = parse_methods(NAMED)
    expected = frozenset[str]().union(*map(needs_of, methods))
    bench = pool_bench(tiny_subject(), tmp_path, windows, expected)
    for method in methods:
        with bench.dense:
            made = prune_cell(bench, method, Target(0.5))
            assert made.zeros * 2 == made.prunable, method.name
            assert sum(int((x.read() == 0).sum()) for x in bench.layers) == made.zeros, method.name


def test_the_zero_check_looks_at_the_weights() -> None:
    layers = prunable_linears(tiny_subject().model)
    keep = {}
    for layer in layers:
        mask = torch.ones(layer.shape, dtype=torch.bool)
        mask[:, ::2] = False
        layer.write(layer.read() * mask)
        keep[layer.name] = mask
    check_zeros(layers, keep, Target(0.5))
    check_zeros(layers, keep, Target(0.5, "2:4"))
    with pytest.raises(AutopruneError, match="are pruned, 60 % means"):
        check_zeros(layers, keep, Target(0.6))
    layers[0].read()[0, 0] = 1.0
    with pytest.raises(AutopruneError, match="keeps 1 weights that its mask removes"):
        check_zeros(layers, keep, Target(0.5))
    layers[0].read()[0, 0] = 0.0
    keep[layers[0].name][0, :2] = torch.tensor([True, False])
    keep[layers[0].name][0, 2:4] = torch.tensor([False, False])
    with pytest.raises(AutopruneError):
        check_zeros(layers, keep, Target(0.5, "2:4"))


def test_windows_of_other_shapes_have_other_digests() -> None:
    tokens = torch.arange(12)
    assert windows_digest(tokens.reshape(3, 4)) != windows_digest(tokens.reshape(4, 3))
