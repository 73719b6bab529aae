"""Given or found: who wrote the winner, what was given, and what it is set against."""

from dataclasses import replace
from typing import Any

import pytest

from autoprune.report.benefit import Outcome, Sample
from autoprune.report.card import found_parts, model_card
from autoprune.report.data import ReportEntry, RunReport, Split
from autoprune.report.evidence import WinnerChange
from autoprune.report.origin import authorship, citations, given, given_parts
from autoprune.report.page import page
from autoprune.report.sealed import SealedSet
from autoprune.report.sentences import summary, trust
from autoprune.search.spec import SearchSpec
from autoprune.search.starts import given_start
from tests.support.checkpoint_record import RECORD

SPEC = SearchSpec(
    model="m", corpus="c", repair_choices=("none", "ebft", "sparsegpt:select=own+ebft")
)


def entry(alias: str, perplexity: float | None = None, **more: Any) -> ReportEntry:
    fields: dict[str, Any] = {
        "id": alias, "alias": alias, "kind": "candidate", "formula": "abs(W)", "order": 1,
        "perplexity": perplexity,
    }  # fmt: skip
    return ReportEntry(**(fields | more))


def report(**changes: Any) -> RunReport:
    wanda = {"kind": "baseline", "order": 0, "formula": "abs(W) * x_norm"}
    ramp = wanda | {"allocation": "ramp", "solver": "sparsegpt"}
    found = RunReport(
        run_id="night",
        created="2026-11-27T02:00:00",
        model="package:m/Tiny.Q4_1.gguf",
        corpus="text",
        sparsity=0.6,
        dense_perplexity=20.0,
        designer="local: Qwen2.5-Coder-1.5B-Instruct",
        spec=SPEC.to_json(),
        entries=(
            entry("wanda", 80.0, rank=4, sealed_perplexity=79.0, **wanda),
            entry("wanda+ramp", 54.0, rank=3, sealed_perplexity=55.0, **ramp),
            entry(
                "C1", 44.0, rank=1, verdict="winner", operator="sweep", sealed_perplexity=45.0,
                change_vs_wanda=-0.45, formula="abs(W) * x_norm", allocation="ramp", order=1,
                solver="sparsegpt:select=own+ebft:epochs=2", metric_counts=False,
            ),
            entry("C2", 46.0, rank=2, operator="tune", order=2),
            entry("C3", operator="mutate", order=3, verdict="unmeasured"),
            entry("C4", operator="seed", order=4, tokens=580, verdict="unmeasured"),
        ),
        splits=(Split("sealed", 7, 4096, "c" * 64, 1),),
        sealed_set=SealedSet(3, "text", "c" * 64, documents=7),
    )  # fmt: skip
    return replace(found, **changes)


LINE = (
    "C1: written by the sweep; budgets of a start, repair given; the language model wrote 1 of 4 "
    "recipes, 0 measured"
)


def test_header_card_tile_and_summary_say_who_wrote_the_winner() -> None:
    found = report()
    assert authorship(found) == LINE
    assert LINE in page(found, {})
    card = model_card(found, RECORD, "")
    assert LINE in card and "| designer |" not in card
    assert "| language model asked | local: Qwen2.5-Coder-1.5B-Instruct |" in card
    assert "| written by | the sweep |" in card
    assert "| given to the search | repairs `none`, `ebft`, `sparsegpt:select=own+ebft`; " in card
    assert summary(found)[-1] == f"{LINE}."


@pytest.mark.parametrize(
    ("operator", "designer", "shown"),
    [
        ("exploit", "local", "C1: written by the language model;"),
        ("list", "openai", "C1: written by the language model;"),
        ("extend", "local", "C1: written by an added factor;"),
        ("random", "random", "C1: written by a random draw;"),
        ("spare", "none", "C1: written by mutation;"),
    ],
)
def test_moves_and_models_are_distinguished(operator: str, designer: str, shown: str) -> None:
    found = report()
    won = tuple(replace(e, operator=operator) if e.alias == "C1" else e for e in found.entries)
    spec = found.spec | {"designer": {"kind": designer}}
    line = authorship(replace(found, entries=won, spec=spec))
    assert line.startswith(shown)
    nobody = "no language model was asked"
    assert line.endswith(nobody) == (designer in ("random", "none"))


def test_what_a_language_model_measured_is_counted() -> None:
    found = report()
    measured = tuple(
        replace(e, perplexity=50.0, verdict="accepted") if e.alias == "C4" else e
        for e in found.entries
    )
    assert authorship(replace(found, entries=measured)).endswith("wrote 1 of 4 recipes, 1 measured")


def test_a_start_that_wins_is_called_a_start() -> None:
    found = report()
    won = tuple(
        replace(e, verdict="winner" if e.alias == "wanda" else "stopped") for e in found.entries
    )
    assert authorship(replace(found, entries=won)).startswith("wanda: a start, made by hand; ")


def test_a_program_that_was_given_is_not_called_hand_made() -> None:
    start = given_start("program:ria")
    program = {
        "kind": "baseline", "source": start.source, "language": "program", "order": 0,
        "formula": "program:0123456789ab", "verdict": "winner", "rank": 1,
    }  # fmt: skip
    entries = (
        entry("wanda", 80.0, kind="baseline", order=0),
        entry("program:ria", 50.0, **program),
    )
    spec = SearchSpec(model="m", corpus="c", language="program", starts=(start,)).to_json()
    line = authorship(report(entries=entries, spec=spec))
    assert line.startswith(
        "program:ria: a start, written by an earlier search or a person, and given"
    )


def test_parts_that_were_given_are_named() -> None:
    found = report()
    plain = entry("C9", 60.0, formula="abs(W) * x_norm", solver="mrp")
    assert given_parts(found, plain) == ["metric of a start"]
    usual = replace(found, spec=SearchSpec(model="m", corpus="c").to_json())
    assert given(usual)["repairs"] == [] and given(found)["repairs"] == list(SPEC.repair_choices)
    winner = found.winner
    assert winner is not None
    assert given_parts(usual, winner) == ["budgets of a start"]
    assert given_parts(usual, replace(winner, solver="sparsegpt")) == [
        "budgets of a start", "repair of a start",
    ]  # fmt: skip


def test_the_winner_is_set_against_the_best_start_and_not_wanda_alone() -> None:
    found = report()
    shown = "Against the best start by hand, wanda+ramp, C1 has −18.5 % perplexity"
    assert any(text.startswith(shown) for text in summary(found))
    card = model_card(found, RECORD, "")
    assert "| best start by hand, wanda+ramp | 54.0 | 55.0 |" in card and shown in card


def test_the_best_start_has_intervals_and_a_sealed_figure() -> None:
    found = report(
        contrasts=(
            WinnerChange("wanda", "reference", "selection", 16, -0.45, (-0.5, -0.4)),
            WinnerChange("wanda+ramp", "best start", "selection", 16, -0.185, (-0.25, -0.1)),
            WinnerChange("wanda+ramp", "best start", "sealed", 100, -0.18, (-0.22, -0.14)),
        )
    )
    shown = (
        "C1 has −18.5 % perplexity on the selection split (95 % −25.0 % to −10.0 %) and −18.0 % on "
        "the sealed one (95 % −22.0 % to −14.0 %)."
    )
    assert any(text.endswith(shown) for text in summary(found))
    assert shown in model_card(found, RECORD, "")
    assert "(95 % " not in " ".join(text for text in summary(found) if text.startswith("On "))
    reference = WinnerChange("wanda", "reference", "sealed", 100, -0.45, (-0.52, -0.38))
    known = replace(found, contrasts=(*found.contrasts, reference))
    assert any(
        text.startswith("On ") and text.endswith("(95 % −52.0 % to −38.0 %).")
        for text in summary(known)
    )
    # A single window gives no interval.
    single = WinnerChange("wanda+ramp", "best start", "sealed", 1, -0.18)
    assert "−18.0 % on the sealed one." in " ".join(summary(replace(found, contrasts=(single,))))


def test_the_card_of_a_smaller_model_says_who_found_it_and_what_it_writes() -> None:
    sample = Sample("The capital", "of France", "of of")
    outcome = Outcome(98_000_000, 69_000_000, "F16", (sample,))
    parts = found_parts(report(outcome=outcome, quantised="Q4_1"), RECORD)
    assert parts[0].startswith("Weights: 98.0 MB (Q4_1) in, 69.0 MB (F16) out")
    card = "\n\n".join(parts)
    assert LINE in card and "| written by | the sweep |" in card
    assert "## Figures" in card and "| pruned |" not in card and "| this model | of of |" in card
    assert "weights compete by" not in card


def test_papers_of_others_are_cited_by_the_classes_own_sources() -> None:
    recipe = {"allocation": "ramp", "solver": "sparsegpt:select=own+ebft:epochs=2"}
    cited = citations(recipe)
    assert cited == [
        "ramp: ATP, arXiv 2502.14770",
        "sparsegpt: SparseGPT, arXiv 2301.00774",
        "ebft: EBFT, arXiv 2402.12419",
    ]
    assert "mrp: Pruning Foundation Models without Retraining, arXiv 2410.15567" in citations(
        {"allocation": "uniform", "solver": "walk:mrp"}
    )
    record = RECORD | {"recipe": RECORD["recipe"] | recipe}
    card = model_card(report(), record, "")
    assert all(f"- {paper}" in card for paper in cited)


@pytest.mark.parametrize(
    ("known", "claimed", "shown"),
    [
        (SealedSet(3, "t", "c" * 64, documents=7), True, "sealed set 3, which no choice was made"),
        (
            SealedSet(3, "t", "c" * 64, documents=7, shared=2), False,
            "sealed set 3, no earlier look (2 of its 7 documents stood in sealed text that was "
            "looked at before), it has 45.0",
        ),
        (
            SealedSet(0, "t", "c" * 64, 2, documents=7, shared=7), False,
            "On sealed set 0, 2 earlier looks, it has 45.0",
        ),
        (None, False, "the number of earlier looks is not on record"),
    ],
)  # fmt: skip
def test_no_choice_is_claimed_only_where_the_ledger_has_no_earlier_look(
    known: SealedSet | None, claimed: bool, shown: str
) -> None:
    found = replace(report(), sealed_set=known)
    text = " ".join(summary(found))
    assert ("no choice was made on" in text) == claimed and shown in text
    text = page(found, {})
    assert ("no choice was made on" in text) == claimed
    if known is not None:
        assert known.title in " ".join(trust(found)) and known.title in text
        assert known.title in model_card(found, RECORD, "")


def test_a_quantised_source_is_named() -> None:
    found = replace(report(), quantised="Q4_1")
    assert "The weights it was made from are dequantised from Q4_1" in model_card(found, RECORD, "")
    assert "dequantised from Q4_1" in summary(found)[0]
    assert "dequantised" not in page(report(), {}) + model_card(report(), RECORD, "")
