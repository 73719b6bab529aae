"""A whole search of schemes on a tiny model: record, smaller winner, registry, gate's facts."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from flows.ls.listings import listing
from flows.nightly.best_so_far import with_best_so_far
from flows.search import search
from flows.search.leaderboard import closing_text
from flows.search.params import SearchParams
from tasks.promotion import inspect_checkpoint
from tasks.run_files import RunFiles, read_object
from tasks.state import State
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
    recorded = inspect_checkpoint(str(files.winner))["recorded"]
    assert recorded["scheme"] == made["scheme"] and recorded["total"] == made["parameters"]
    card = (files.winner / "README.md").read_text()
    assert "## Figures" in card and "## How it was found" in card and "## What it writes" in card
    assert "Weights: " in card and "no language model was asked" in card
    assert "faster wherever it runs" in page
    # The first of its name is champion: there is no gate to ask.
    assert "autoprune promote" not in page
    # The next night starts from it; a search of recipes does not.
    again = with_best_so_far(State.open(), params.model_copy(update={"run": None}))
    assert again.starts == (made["scheme"],) and again.spec().starts
    plain = params.model_copy(update={"run": None, "schemes": None})
    assert with_best_so_far(State.open(), plain).starts == ()


def test_what_leaves_zeros_is_refused_beside_schemes() -> None:
    for wrong in ({"repairs": "mrp"}, {"language": "python"}, {"pattern": "2:4"}):
        with pytest.raises(ValidationError, match="schemes leave no zeros"):
            SearchParams.model_validate({"schemes": "depth", **wrong})
    with pytest.raises(ValidationError, match="names none"):
        SearchParams(schemes=" ,")
