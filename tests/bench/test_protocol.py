"""What a search and a comparison both record of a model and its text."""

from pathlib import Path

from autoprune import Bench
from autoprune.bench.protocol import protocol
from autoprune.text.windows import WINDOWS_VERSION


def test_a_sealed_part_that_is_too_short_is_on_record(place: tuple[Path, Path]) -> None:
    model, corpus = place
    found = []
    for sealed in (2, 10_000):
        sizes = {"calibration_windows": 2, "selection_windows": 3, "sealed_windows": sealed}
        with Bench.open(model, corpus=corpus, seqlen=32, **sizes) as bench:
            found.append(protocol(bench))
            assert found[-1]["prunable"] == sum(layer.numel for layer in bench.layers)
            assert found[-1]["blocks"] == 1 + max(layer.block for layer in bench.layers)
    enough, fewer = (each.pop("fewer_windows") for each in found)
    assert enough == "" and "sealed part" in fewer and "10,000" in fewer.replace("10000", "10,000")
    assert found[0] == found[1] and found[0]["windows_version"] == WINDOWS_VERSION
    assert found[0]["model_digest"] and "beginning_token" in found[0] and "overlap" in found[0]
