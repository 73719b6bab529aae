"""A whole search of schemes on a tiny model: record, smaller winner, registry, gate's facts."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from autoprune.errors import UsageError
from autoprune.storage import read_object
from flows.ls.listings import listing
from flows.nightly.best_so_far import with_best_so_far
from flows.search import search
from flows.search.leaderboard import closing_text
from flows.search.params import SearchParams
from tasks.promotion import inspect_checkpoint
from tasks.reproduce import find_candidate, reproduce
from tasks.run_files import RunFiles
from tasks.state import State
from tests.support.saved_bytes import tensor_bytes
from tests.support.small_search import SIZES


def test_a_search_of_schemes_ends_with_a_smaller_model(
    tiny_folder: Path, text_file: Path, home: Path
) -> None:
    asked = {"model": str(tiny_folder), "corpus": str(text_file), "designer": "random"}
    params = SearchParams(
        **SIZES | asked,
        schemes="depth:criterion=random,patch=none,protect=none,width,depth+width",
        sparsity=0.5,
        # Half of a random model changes what it says far more than how well it says it.
        fitness="kl",
        candidates=4,
        slots=2,
        run="shapes",
    )
    assert params.designs_in == "off" and "--schemes" in params.command()
    record = search.fn(params)
    files = RunFiles.of(State.open(), "shapes")
    starts = [row["candidate"] for row in record["leaderboard"] if row["verdict"] == "baseline"]
    assert record["passed"] and 2 <= len(starts) <= 3
    assert record["reference"] == "depth:criterion=random,protect=none,patch=none"
    assert f"vs {record['reference']}"[:10] in closing_text(record)
    assert f"vs {record['reference']}"[:10] in listing("candidates", "shapes")[1]
    page = files.page.read_text()
    assert "Against Wanda" not in page and "fewer parameters in blocks" in page
    # What won is saved in its real shapes, counted, registered by its share of parameters.
    assert record["best"] not in (None, record["reference"])
    made = read_object(files.winner / "autoprune.json")
    opened = AutoModelForCausalLM.from_pretrained(files.winner)
    assert opened.num_parameters() == made["parameters"] < made["parameters_before"]
    assert 0.3 < made["share_removed"] < 0.7 and made["recipe"]["metric"]["kind"] == "scheme"
    assert files.read_facts()["registered"]["name"].endswith(".p50")
    recorded = inspect_checkpoint(files.winner)["recorded"]
    assert recorded["scheme"] == made["scheme"] and recorded["total"] == made["parameters"]
    card = (files.winner / "README.md").read_text()
    assert "## Figures" in card and "## How it was found" in card and "## What it writes" in card
    assert "Weights: " in card and "no language model was asked" in card
    beside = made["beside_dense"]
    own, whole = beside["smaller"], beside["dense"]
    assert own["parameters"] == made["parameters"] and 0 < beside["windows"] <= 8
    assert own["bytes"] == tensor_bytes(files.winner) < whole["bytes"]
    assert "Measured in turns with the dense model" in page
    assert f"| bytes of the weights | {whole['bytes']:,} | {own['bytes']:,} |" in card
    # The first of its name is champion: there is no gate to ask.
    assert "autoprune promote" not in page
    # The next night starts from it; a search of recipes does not.
    again = with_best_so_far(State.open(), params.model_copy(update={"run": None}))
    assert again.starts == (made["scheme"],) and again.spec().starts
    plain = params.model_copy(update={"run": None, "schemes": None})
    assert with_best_so_far(State.open(), plain).starts == ()


def test_a_search_in_bytes_says_so_everywhere_and_is_made_again(
    tiny_folder: Path, text_file: Path, home: Path
) -> None:
    asked = {"model": str(tiny_folder), "corpus": str(text_file), "designer": "random"}
    params = SearchParams(
        **SIZES | asked,
        schemes="width:score=magnitude,fit=false",
        bytes=0.1,
        fitness="kl",
        candidates=3,
        slots=3,
    )
    assert "-b10-" in params.run_id() and "--bytes 0.1" in params.command()
    record = search.fn(params)
    state, run = State.open(), params.run_id()
    files = RunFiles.of(state, run)
    assert record["passed"] and record["sparsity"] is None
    assert "target 10 % fewer bytes" in closing_text(record)
    assert "with 10 % fewer bytes" in files.page.read_text()
    assert "with 10 % fewer bytes" in listing("runs", None)[1]
    made = read_object(files.winner / "autoprune.json")
    budget = made["budget"]
    assert budget["asked"] == "10 % of the bytes" and budget["share"] == made["target"]
    assert abs(budget["bytes_removed"] - 0.1) < 0.02
    assert files.read_facts()["registered"]["name"].endswith(".b10")
    mlflow_run = find_candidate(state, run, record["best"])
    again = reproduce(state, mlflow_run)
    assert again["mask_digest"] == made["mask_digest"] and again["share"] == made["target"]
    later = params.model_copy(update={"run": "later"})
    assert with_best_so_far(state, later).starts == (made["scheme"],)
    other = later.model_copy(update={"bytes": None, "sparsity": made["target"]})
    assert with_best_so_far(state, other).starts == ()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"bytes": 0.2}, "bytes 0.2: zeros bring neither"),
        ({"faster": 1.3}, "faster 1.3: zeros bring neither"),
        ({"schemes": "depth", "bytes": 0.2, "sparsity": 0.2}, "two budgets"),
        ({"schemes": "depth", "faster": 1.3, "runner": "dask"}, "workers of dask"),
    ],
)
def test_budgets_that_do_not_go_together_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SearchParams.model_validate(wrong)


def test_what_leaves_zeros_is_refused_beside_schemes() -> None:
    for wrong in ({"repairs": "mrp"}, {"language": "python"}, {"pattern": "2:4"}):
        with pytest.raises(ValidationError, match="schemes leave no zeros"):
            SearchParams.model_validate({"schemes": "depth", **wrong})
    with pytest.raises(ValidationError, match="names none"):
        SearchParams(schemes=" ,")


def test_a_repair_in_a_searched_scheme_is_answered_with_the_option_for_it() -> None:
    params = SearchParams(schemes="width,depth+ebft:epochs=2+recover", sandbox="off")
    with pytest.raises(UsageError, match=r"--schemes depth --repairs none,ebft:epochs=2\+recover"):
        params.check()
