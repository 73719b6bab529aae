"""Rates by block in commands: pruned, evaluated, made again, pruned again, searched."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import autoprune
from autoprune.schemes import build_scheme
from autoprune.storage import read_object
from flows.search import search
from tasks.run_files import RunFiles
from tasks.state import State
from tasks.track import registry
from tasks.track.runs import Tracker
from tests.support.command_line import CommandLine
from tests.support.small_search import small

RATES = "width:rates=(ramp:half_width=0.3,relax_last=0.5)"


def test_a_folder_of_different_widths_goes_through_all_commands(
    cli: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    read = "--corpus TEXT --calibration-windows 4 --seqlen 32"
    shown = cli(f"prune MODEL {read} --scheme {RATES} --sparsity 0.3 --out {out}").out
    assert "different widths" in shown
    record = json.loads((out / "autoprune.json").read_text())
    assert record["scheme"] == RATES and record["opened_by"] == "autoprune"
    first, last = record["facts"]["width"]["neurons"][1]
    card = (out / "README.md").read_text()
    assert "autoprune.load" in card and f"{first}, {last}" in card and first > last
    opened = autoprune.load(str(out)).model
    assert opened.num_parameters() == record["parameters"]
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        AutoModelForCausalLM.from_pretrained(out)
    assert cli(f"reproduce {out} --corpus TEXT -q").code == 0
    # The front door does the same.
    size = {"corpus": cli.places["TEXT"], "calibration_windows": 4, "seqlen": 32}
    made = autoprune.prune(cli.places["MODEL"], scheme=RATES, sparsity=0.3, **size)
    for name, value in opened.state_dict().items():
        assert torch.equal(value, made.model.model.state_dict()[name]), name
    # Zeros in it, in memory and from shards: the same masks, and a card that says how to open it.
    digests = set()
    for more in ("", "--stream"):
        zeros = tmp_path / f"zeros{more}"
        cli(f"prune {out} {read} --metric wanda --sparsity 0.5 --out {zeros} -q {more}")
        made_so = json.loads((zeros / "autoprune.json").read_text())
        digests.add(made_so["mask_digest"])
        assert made_so["opened_by"] == "autoprune"
        assert "autoprune.load" in (zeros / "README.md").read_text()
        assert autoprune.load(str(zeros)).model.num_parameters() == record["parameters"]
    assert len(digests) == 1
    windows = "--measured-windows 2 --seqlen 32"
    assert "perplexity" in cli(f"evaluate {out} --corpus TEXT {windows} --against MODEL -q").out


def test_a_search_evolves_rates_and_registers_its_winner(
    tiny_folder: Path, text_file: Path, home: Path
) -> None:
    params = small(
        tiny_folder, text_file, designer="genetic", sparsity=0.3, fitness="kl", candidates=6,
        schemes="width:score=random,fit=false,parts=mlp,rates=given:0.9/0.1", slots=2, run="rates",
    )  # fmt: skip
    record = search.fn(params)
    tried = [row["candidate"] for row in record["leaderboard"]]
    scores = [row["score"] for row in record["leaderboard"] if row.get("score") is not None]
    assert record["passed"] and len(tried) > 2 and scores == sorted(scores)
    files = RunFiles.of(State.open(), "rates")
    made = read_object(files.winner / "autoprune.json")
    assert build_scheme(made["scheme"]).text == made["scheme"]
    opened = autoprune.load(str(files.winner)).model
    assert opened.num_parameters() == made["parameters"] < made["parameters_before"]
    assert "rates=" in made["scheme"] and made["opened_by"] == "autoprune"
    # MLflow opens it, since AutoPrune is installed.
    name = files.read_facts()["registered"]["name"]
    assert registry.continue_text(Tracker(State.open()), name, "1", "abc def", 2)[0] > 0
