"""A folder that `prune` saved says what it is."""

import re
import shlex

from autoprune.report.program_card import program_card
from autoprune.report.prune_card import prune_card
from flows.cli.parser import parse
from flows.prune.params import PruneParams
from flows.terminal.options import given
from tests.support.checkpoint_record import RECORD

MADE = RECORD | {
    "metric": "wanda", "model": "owner/base", "group": "row", "allocation": "ramp",
    "solver": "mrp", "samples": 16, "seqlen": 512, "corpus": "my.txt",
}  # fmt: skip


def test_what_how_and_what_is_not_known() -> None:
    card = prune_card(MADE | {"perplexity": None}, "apache-2.0")
    assert card.startswith("---\nlibrary_name: transformers")
    for words in (
        "license: apache-2.0", "600 of 1,000 prunable", "`owner/base`", "b" * 64, "wanda", "`mrp`",
        "16 windows of 512 tokens of `my.txt`, seed 3", "no faster", "nobody has measured",
    ):  # fmt: skip
        assert words in card, words
    assert "opens it. Weights: 2 MB in, 1 MB out. Zeros alone" in prune_card(
        MADE, "", "Weights: 2 MB in, 1 MB out"
    )
    assert 'from_pretrained(".")' in card and "What it writes" not in card
    sample = {"prompt": "The capital", "dense": "of France", "pruned": "of <b>of</b>"}
    writes = {"writes": {"part": "calibration", "samples": [sample]}}
    card = prune_card(MADE | writes, "")
    assert "Calibration text, continued" in card and "| unpruned | of France |" in card
    assert "<b>" not in card
    without = {key: value for key, value in MADE.items() if key not in ("samples", "corpus")}
    assert "no text was read" in prune_card(without, "")
    by_file = prune_card(MADE | {"metric": "private/deep/mine.py"}, "")
    assert "mine.py" in by_file and "private" not in by_file
    code = {"digest": "0" * 64, "source": "def score(W, stats, params):\n    return W.abs()\n"}
    by_code = prune_card(MADE | {"metric": "mine.py", "metric_code": code}, "")
    assert f"```\n# mine.py, SHA-256 {'0' * 64}\n{code['source']}" in by_code


def test_what_was_measured_is_in_the_card() -> None:
    found = {"dense": 21.25, "pruned": 26.5, "windows": 8, "seqlen": 512}
    measured = {"perplexity": found, "preset": {"quality": "balanced"}}
    card = prune_card(MADE | measured, "apache-2.0")
    assert "nobody has measured" not in card and "the preset `balanced`" in card
    assert "perplexity is 26.5" in card and "model 21.2" in card
    assert "8 windows of 512 tokens of a part of `my.txt`" in card
    assert "before the weights were rounded" not in card
    measured["perplexity"] = found | {"measured_in": "float32"}
    assert "in float32, before the weights were rounded" in prune_card(MADE | measured, "")


def test_a_programs_card_repeats_every_setting() -> None:
    program = {"name": "mine", "digest": "c" * 64, "source": "def prune_layer(): ..."}
    record = MADE | {
        "program": program, "sparsity": 0.6, "target": 0.61234567, "statistics": "sequential",
        "corpus": "my text.txt", "dtype_asked": "bfloat16", "held_out": "a.txt,b c.txt",
    }  # fmt: skip
    card = program_card(record, "", "Weights: 2 MB in, 1 MB out")
    assert "opens it.\nWeights: 2 MB in, 1 MB out. Zeros alone make it no faster" in card
    assert 'from_pretrained(".")' in card and "What it writes" not in card
    sample = {"prompt": "The capital", "dense": "of France", "pruned": "of of"}
    more = record | {"writes": {"part": "calibration", "samples": [sample]}}
    assert "| this model | of of |\n\nLicence" in program_card(more, "")
    (block,) = re.findall(r"```\n(autoprune prune .*?)\n```", card, re.DOTALL)
    typed = given(parse(shlex.split(block.replace("\\\n", " "))[1:]), PruneParams)
    assert typed == {
        "model": "owner/base", "program": "program.py", "sparsity": 0.61234567,
        "corpus": "my text.txt", "calibration_windows": 16, "seqlen": 512, "seed": 3,
        "allocation": "ramp", "repair": "mrp", "dtype": "bfloat16", "held_out": "a.txt,b c.txt",
        "out": "AGAIN",
    }  # fmt: skip
