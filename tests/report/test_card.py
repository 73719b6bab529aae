"""The model card: everything a stranger asks, from the record alone."""

import dataclasses
from pathlib import Path

import pytest

from autoprune.models.licence import base_licence
from autoprune.report.card import model_card
from autoprune.report.data import ReportEntry, RunReport, Split
from tests.support.checkpoint_record import RECORD

REPORT = RunReport(
    run_id="night",
    created="2026-11-25T02:00:00",
    model="owner/base",
    corpus="wikipedia-sample",
    sparsity=0.6,
    dense_perplexity=20.0,
    dense_sealed_perplexity=21.0,
    entries=(
        ReportEntry("C1", "C1", "candidate", "abs(W) * x_norm", verdict="winner", perplexity=80.0,
              sealed_perplexity=81.0, change_vs_wanda=-0.2, change_interval=(-0.3, -0.1)),
        ReportEntry("wanda", "wanda", "baseline", "abs(W) * x_norm", perplexity=100.0),
    ),
    splits=(Split("sealed", 7, 4096, "c" * 64, 1),),
)  # fmt: skip


@pytest.mark.parametrize(("repair", "counts"), [("mrp", True), ("mrp:select=own+ebft", False)])
def test_a_card_claims_no_metric_that_had_no_part(repair: str, counts: bool) -> None:
    card = model_card(REPORT, RECORD | {"recipe": RECORD["recipe"] | {"solver": repair}}, "")
    assert ("lowest scores of this metric were removed" in card) == counts
    assert ("this metric of the recipe had no part in it" in card) != counts


def test_a_card_answers_what_how_figures_data_limits_licence() -> None:
    card = model_card(REPORT, RECORD, "apache-2.0")
    head = card.split("---")[1]
    assert "license: apache-2.0" in head and "library_name: transformers" in head
    for words in (
        "600 of 1,000 prunable", "abs(W) * x_norm", "`ramp`", "a" * 64, "b" * 64, "| 80.0 | 81.0 |",
        "| 20.0 | 21.0 |", "−20.0 %", "4,096 tokens", "wikipedia-sample", "## Limits", "apache-2.0",
    ):  # fmt: skip
        assert words in card, words
    shown = "80.00 % are zero and 60.00 % were pruned"
    more = {**RECORD, "checkpoint": {**RECORD["checkpoint"], "recount": shown}}
    assert f"{shown}. Stock" in model_card(REPORT, more, "") and shown not in card


def test_every_look_at_the_sealed_text_is_listed() -> None:
    for uses, shown in ((1, "once, by this search"), (3, "3 times by then"), (None, "not known")):
        splits = (dataclasses.replace(REPORT.splits[0], uses=uses),)
        card = model_card(dataclasses.replace(REPORT, splits=splits), RECORD, "")
        assert shown in card, uses


def test_an_unknown_licence_is_given_as_unknown() -> None:
    card = model_card(REPORT, RECORD, "")
    assert "license:" not in card.split("---")[1]
    assert "look it up" in card


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: mit\n---\n# Model", "mit"),
        ("---\nlicense: 'other'\n---\n", "other"),
        ("# Model\nlicense: mit", ""),
        ("---\ntags: [x]\n---\n", ""),
    ],
)
def test_licence_of_a_folder(tmp_path: Path, text: str, licence: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert base_licence(tmp_path, None) == licence


def test_no_card_no_licence(tmp_path: Path) -> None:
    assert base_licence(tmp_path, None) == ""
