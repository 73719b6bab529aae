"""Work in another process is done with the same text and versions, or refused."""

from pathlib import Path

import pytest

from autoprune.errors import AutopruneError
from autoprune.search.spec import SearchSpec
from tasks import remote
from tasks.compare_remote import comparison_bench, comparison_config, require_same_work
from tasks.search_bench import SearchBench
from tasks.state import State


def test_a_worker_with_other_text_or_versions_refuses(
    tiny_folder: Path, text_file: Path, home: Path
) -> None:
    sizes = {"calibration_windows": 4, "seqlen": 48, "rung_windows": 2, "selection_windows": 4}
    spec = SearchSpec(model=str(tiny_folder), corpus=str(text_file), **sizes, sealed_windows=3)
    place = str(tiny_folder), State.open(home)
    with SearchBench(*place, spec=spec, run_id="there", designs_in="off") as bench:
        config = remote.bench_config(bench)
    assert remote._opened(config).run_id.startswith("there")
    for change, shown in (
        (
            {"parts": config["parts"] | {"selection": "00" * 32}},
            "selection windows .*of the search",
        ),
        ({"parts": config["parts"] | {"calibration": "00" * 32}}, "calibration windows .*differs"),
        ({"computed_by": config["computed_by"] | {"torch": "1"}}, "and the search by 1;"),
        ({"device": "nonsense"}, "the device 'nonsense' cannot be used"),
    ):
        with pytest.raises(AutopruneError, match=shown):
            remote._opened(config | change)
        assert not remote._open


def test_a_worker_has_the_same_draws_or_is_refused(
    tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text(
        "\n\n".join(f"other words {i} stand here, {i * i} of them" for i in range(300))
    )
    state = State.open(home)
    own = {
        "corpus": str(text_file), "calibration_windows": 4, "seqlen": 32,
        "counts": {"selection": 3, "sealed": 4}, "text_split": 0, "asked": "here", "expected": [],
        "peers": {}, "suites": [], "own_distance": {}, "precision": "auto",
        "texts": {"two": str(other), "own": "self-generated"}, "draws": 1,
    }  # fmt: skip
    config = {"model": str(tiny_folder), "seed": 0, "dtype": "float32", "bench": own}
    with comparison_bench(state, config) as bench:
        sent = comparison_config(bench)
    with comparison_bench(state, sent) as bench:
        require_same_work(bench, sent)
        assert len(sent["text_draws"]["own"]) == 1
        sent["text_draws"]["own"][0] = "else"
        with pytest.raises(AutopruneError, match="calibration text own on this worker"):
            require_same_work(bench, sent)
