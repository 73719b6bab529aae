"""A winner is saved in its source's type, with sizes and what both models write."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from autoprune.recipe import Recipe
from autoprune.report.benefit import Outcome, Sample
from autoprune.report.card import model_card
from autoprune.report.data import RunReport
from autoprune.report.sentences import summary
from tasks.prepare import prepare
from tasks.run_files import RunFiles
from tasks.search_bench import SearchBench
from tasks.state import State
from tasks.winner import is_kept, keep_winner, register_winner
from tests.support.checkpoint_record import RECORD
from tests.support.sample_run import make_report

WANDA = Recipe.parse("wanda")


def masks_of(bench: SearchBench) -> str:
    with bench.pruned(WANDA, bench.budget) as outcome:
        return outcome.mask_digest


@pytest.mark.parametrize(("asked", "kind"), [("auto", "BF16"), ("float16", "F16")])
def test_the_files_have_the_sources_type_or_the_one_asked_for(
    bench: SearchBench, asked: str, kind: str
) -> None:
    source = Path(bench.model_ref)
    AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16).save_pretrained(source)
    prepare(bench)
    record, kept = keep_winner(bench, "C1", WANDA, masks_of(bench), 1.0, dtype=asked)
    folder = RunFiles.of(bench.state, "winner").winner
    weights = load_file(folder / "model.safetensors")
    matrices = {value.dtype for value in weights.values() if value.dim() > 1}
    assert matrices == {torch.bfloat16 if kind == "BF16" else torch.float16}
    outcome = kept["outcome"]
    assert outcome["dtype"] == kind
    # What is bfloat16 already loses nothing.
    assert kind != "BF16" or outcome["measured_in"] == ""
    assert outcome["source_bytes"] == (source / "model.safetensors").stat().st_size
    assert outcome["saved_bytes"] == (folder / "model.safetensors").stat().st_size
    first, second = outcome["samples"]
    assert first["prompt"] and first["dense"] != first["pruned"] and second["prompt"]
    # A resumed search keeps the winner again, and what was written with it.
    again = partial(keep_winner, bench, "C1", WANDA, kept_masks(folder), 1.0)
    made = (folder / "model.safetensors").stat().st_mtime_ns
    before, facts = again(dtype=asked)
    assert (before, facts["outcome"]) == (record, outcome)
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    # Asked for in another type, it is saved anew, and its record tells.
    record, kept = again(dtype="float32")
    assert kept["outcome"]["dtype"] == "F32" and record["dtype_asked"] == "float32"
    assert json.loads((folder / "autoprune.json").read_text()) == record
    files = RunFiles.of(bench.state, "winner")
    files.open_facts().add(checkpoint={})
    known = files.read_facts()
    assert is_kept(files, known, "float32") and not is_kept(files, known, "auto")


def test_rounding_is_on_record_and_makes_no_zeros(bench: SearchBench) -> None:
    prepare(bench)
    _, kept = keep_winner(bench, "C1", WANDA, masks_of(bench), 1.0, dtype="bfloat16")
    assert kept["outcome"]["measured_in"] == "float32"
    assert kept["zeros"] == round(bench.spec.sparsity * bench.prunable)


def kept_masks(folder: Path) -> str:
    return str(json.loads((folder / "autoprune.json").read_text())["mask_digest"])


def test_card_and_report_state_size_speed_and_samples() -> None:
    sample = Sample("The capital", "of France is <b>Paris</b>", "of of | of")
    outcome = Outcome(98_000_000, 269_000_000, "F16", (sample,))
    report = dataclasses.replace(make_report(), outcome=outcome, quantised="Q4_1")
    shown = " ".join(summary(report))
    assert "98.0 MB (Q4_1) in, 269.0 MB (F16) out, 2.7 times the source" in shown
    assert "no faster in transformers" in shown and "rounded" not in shown
    rounded = dataclasses.replace(outcome, measured_in="float32")
    rounded_report = dataclasses.replace(report, outcome=rounded)
    for text in (" ".join(summary(rounded_report)), model_card(rounded_report, RECORD, "")):
        assert "of weights in float32, before they were rounded to F16" in text
    as_before = dataclasses.replace(report, outcome=Outcome(200_000, 200_400, "F32"))
    assert "0.2 MB (F32) out, as large as the source." in " ".join(summary(as_before))
    card = model_card(report, RECORD, "")
    assert "98.0 MB (Q4_1) in" in card and "| unpruned | of France is" in card
    assert "of of \\| of" in card or "of of &#124; of" in card
    # Size and speed come before perplexity.
    assert shown.index("98.0 MB") < shown.index("no faster") < shown.index("has perplexity")
    two_four = dataclasses.replace(report, pattern="2:4")
    assert "sparse tensor cores" in " ".join(summary(two_four))


def test_a_smaller_model_is_not_described_by_its_zeros() -> None:
    outcome = Outcome(98_000_000, 69_000_000, "F16", ())
    report = make_report()
    schemes = report.spec | {"schemes": ["depth"]}
    report = dataclasses.replace(report, outcome=outcome, spec=schemes, sparsity=0.2)
    cases = (
        ("depth:patch=none+recover:steps=9", "passes through fewer blocks"),
        ("depth+width", "gains speed only where a runtime has kernels"),
        # Odd widths were slower and larger than the dense model in llama.cpp.
        ("width:multiple=1+recover", "gains speed only where a runtime has kernels"),
        ("experts", "no faster: a token passes through as many experts"),
    )
    for scheme, sentence in cases:
        entries = tuple(dataclasses.replace(e, source=scheme) for e in report.entries)
        made = dataclasses.replace(report, entries=entries)
        shown = " ".join(summary(made))
        assert sentence in shown and sum(text in shown for text in {case[1] for case in cases}) == 1
        assert "69.0 MB (F16) out" in shown and "Zeros alone" not in shown
    # With a budget in speed, what was measured.
    timed = dataclasses.replace(report, outcome=dataclasses.replace(
        outcome, faster=1.31, dense_rate=40.0
    ))  # fmt: skip
    assert "52.4 against the dense model's 40.0 tokens a second" in " ".join(summary(timed))
    assert "20 % fewer parameters in blocks" in " ".join(summary(report))


def test_a_winner_whose_folder_is_gone_is_no_failure_of_its_search(home: Path) -> None:
    report = dataclasses.replace(make_report(), run_id="demo")
    found, error = register_winner(State.open(home), report, "an MLflow run")
    assert found is None and "the folder winner of demo is gone" in error


def test_what_was_measured_in_turns_stands_in_the_place_of_a_promise() -> None:
    rates = {"prefill": 600.0, "decode": 50.0, "tokens_per_second": 40.0}
    dense = {"bytes": 100_000_000, "perplexity": 20.0, **rates}
    smaller = {**dense, "bytes": 69_000_000, "tokens_per_second": 60.0, "perplexity": "Infinity"}
    outcome = Outcome(98_000_000, 69_000_000, "F16", beside={
        "dense": dense, "smaller": smaller, "windows": 8,
    })  # fmt: skip
    report = make_report()
    entries = tuple(dataclasses.replace(e, source="depth") for e in report.entries)
    schemes = report.spec | {"schemes": ["depth"]}
    report = dataclasses.replace(report, outcome=outcome, spec=schemes, entries=entries)
    shown = " ".join(summary(report))
    assert "reads 600.0 (600.0) and writes 50.0 (50.0) tokens a second, takes 69.0 MB" in shown
    assert "perplexity inf (20.00) on 8 selection windows" in shown
    assert "fewer blocks" not in shown
    both = dataclasses.replace(outcome, faster=1.31, dense_rate=40.0)
    shown = " ".join(summary(dataclasses.replace(report, outcome=both)))
    assert "included: 1.31 times. Measured in turns with the dense model" in shown
    assert RunReport.from_json(report.to_json()).outcome == outcome
