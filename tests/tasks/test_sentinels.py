"""The dense sentinel of a search sees weights that a recipe left behind."""

import torch

from tasks.measure import measure, measure_dense
from tasks.search_bench import SELECTION, SearchBench


def test_the_dense_model_is_measured_as_it_stands(bench: SearchBench) -> None:
    dense = measure_dense.fn(bench.id, SELECTION)
    found = measure.fn(bench.id, "end.dense.sentinel", None, 1, 0.0)
    torch.testing.assert_close(found["nll"][0], dense["nll"][0], rtol=0, atol=1e-5)
    assert found["tokens"] == dense["tokens"] / 2 and found["seconds"] > 0
    layer = bench.layers[0]
    layer.zero(torch.zeros(layer.shape, dtype=torch.bool))
    left_over = measure.fn(bench.id, "g2.dense.sentinel", None, 1, 0.0)
    assert abs(left_over["nll"][0] - dense["nll"][0]) > 1e-4
