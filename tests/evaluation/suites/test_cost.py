"""Sizes are those of real files, timings leave the model unchanged, verdicts are plain."""

import dataclasses
import json
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from autoprune.errors import AutopruneError, UsageError
from autoprune.evaluation.suites import build_suite, cost
from autoprune.evaluation.suites.comparison import compare_rows, compare_runs
from autoprune.evaluation.suites.cost import CostSuite, _verdict, _zeros_filled
from autoprune.evaluation.suites.latency import Timing, peak_memory, peaks_alone, time_once
from autoprune.evaluation.suites.rows import PASSING, Row
from autoprune.models.loading import LoadedModel, load_model
from autoprune.models.structure import prunable_linears
from autoprune.progress import Progress
from tests.support.exportable import saved
from tests.support.tiny_subject import tiny_subject

QUICK = CostSuite(batches=(1, 2), prompt=8, new=3, repeats=2)


@pytest.fixture(autouse=True)
def memory_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is measured in a process that takes seconds to start; one test has it do so."""
    monkeypatch.setattr(cost, "peaks_alone", lambda _, __, batches, *___: [1e8] * len(batches))


def pruned_subject(share: float) -> LoadedModel:
    subject = tiny_subject()
    generator = torch.Generator().manual_seed(0)
    for linear in prunable_linears(subject.model):
        weight = linear.read().clone()
        weight.view(-1)[
            torch.randperm(weight.numel(), generator=generator)[: round(share * weight.numel())]
        ] = 0
        weight.view(-1)[0] = -0.0
        linear.write(weight)
    return subject


def test_speed_is_measured_where_files_have_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise AutopruneError("saving needs 9 MB and the folder has 1 MB free")

    monkeypatch.setattr(cost, "save_model", full)
    rows = {(row.name, row.metric): row for row in QUICK.run(tiny_subject())}
    for missing in (("dense", "size"), ("model", "zeros"), ("llama.cpp q8_0", "decode")):
        row = rows[missing]
        assert row.value is None and "TMPDIR" in str(row.reason)
        # A comparison measures again where there is room.
        assert row.details[PASSING]
    assert rows["batch 1", "peak_memory"].value is None
    assert rows["batch 1", "throughput"].value is not None


def test_every_figure_of_a_pruned_model() -> None:
    subject = pruned_subject(0.6)
    before = {k: v.clone() for k, v in subject.model.state_dict().items()}
    rows = {(row.name, row.metric): row for row in QUICK.run(subject)}
    for name, value in subject.model.state_dict().items():
        assert torch.equal(value.view(torch.int32), before[name].view(torch.int32)), name
    total = sum(p.numel() for p in subject.model.parameters())
    assert rows["model", "parameters"].value == total
    prunable = rows["model", "zeros"].details["prunable"]
    assert rows["model", "zeros"].value == sum(
        int((linear.read() == 0).sum()) for linear in prunable_linears(subject.model)
    )
    assert prunable == sum(linear.numel for linear in prunable_linears(subject.model))
    dense = rows["dense", "size"].value
    assert dense is not None and dense >= total * 4
    for encoding in ("bitmask", "csr"):
        row = rows[encoding, "size"]
        assert row.details["reloaded_equal"] is True
        assert row.value == row.details["compact_bytes"] < dense
    for batch in (1, 2):
        name = f"batch {batch}"
        rate = rows[name, "throughput"]
        assert rate.value is not None and rate.value > 0
        assert len(rate.items) == 2
        assert rate.value == statistics.median(rate.items)
        assert rate.interval is not None and rate.interval[0] <= rate.value <= rate.interval[1]
        assert rows[name, "latency"].protocol["threads"] >= 1
        gain = rows[name, "speedup_from_zeros"]
        assert "on this hardware" in gain.details["verdict"]
    json.dumps([row.to_json() for row in rows.values()], allow_nan=False)
    assert Row.from_json(rows["dense", "size"].to_json()) == rows["dense", "size"]


def test_timings_of_two_runs_are_never_paired() -> None:
    first, second = (
        next(row for row in QUICK.run(tiny_subject()) if row.metric == "latency") for _ in "ab"
    )
    with pytest.raises(AutopruneError, match="cannot be paired"):
        compare_rows(first, second)
    slow = dataclasses.replace(first, items=(2.0, 2.1, 1.9, 2.0, 2.2))
    fast = dataclasses.replace(second, items=(1.0, 1.1, 0.9, 1.0, 1.0, 1.0))
    found = compare_runs(slow, fast)
    assert (found.ratio, found.runs, found.distinguishable) == (0.5, (5, 6), True)
    # In order they would differ each time by the same; as runs they say nothing.
    drift = dataclasses.replace(first, items=(1.0, 2.0, 3.0, 4.0, 5.0))
    later = dataclasses.replace(first, items=(1.1, 2.1, 3.1, 4.1, 5.1))
    assert not compare_runs(drift, later).distinguishable
    few = compare_runs(slow, dataclasses.replace(fast, items=(1.0, 1.0)))
    assert few.to_json()["distinguishable"] is False and few.ratio == 0.5


def test_a_dense_model_has_no_gain_to_report() -> None:
    rows = {(row.name, row.metric): row for row in QUICK.run(tiny_subject())}
    gain = rows["batch 1", "speedup_from_zeros"]
    assert (gain.status, gain.reason) == ("unavailable", "the model has no zeros")
    assert rows["bitmask", "size"].details["encoded"] == 0


@pytest.mark.parametrize(
    ("ratio", "interval", "words"),
    [
        (1.5, (1.3, 1.7), "bring 1.50 times the speed"),
        (1.02, (1.01, 1.03), "bring no speed"),
        (0.8, (0.7, 0.9), "bring no speed"),
        (1.5, (0.9, 2.0), "could be shown: the timings vary too much"),
        (1.5, (1.01, 2.0), "could be shown: the timings vary too much"),
        (4.0, (3.8, 4.3), "bring 4.00 times the speed"),
        (1.5, None, "could be shown: the timings vary too much"),
    ],
)
def test_verdict_is_plain(ratio: float, interval: tuple[float, float] | None, words: str) -> None:
    assert words in _verdict(ratio, interval, 5)


def test_prompt_and_generation_are_timed_apart() -> None:
    timing = Timing((0.5, 1.0, 1.0), (1.5, 3.0, 0.9), batch=2, new=11)
    assert timing.prefill(100) == (400.0, 200.0, 200.0)
    assert timing.decode == (20.0, 10.0)
    rows = {(row.name, row.metric): row for row in QUICK.run(tiny_subject())}
    rates = zip(rows["batch 2", "prefill"].items, rows["batch 2", "latency"].items, strict=True)
    assert all(rate == 16 / seconds for rate, seconds in rates)
    missing = rows["llama.cpp q8_0", "decode"]
    assert missing.status == "unavailable" and "no merges" in missing.reason


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="needs xllamacpp")
def test_llama_cpp_is_timed_on_the_exported_file(tmp_path: Path) -> None:
    suite = CostSuite(batches=(1,), prompt=8, new=3, repeats=2, gguf=("q8_0", "f16"))
    steps: list[Progress] = []
    loaded = load_model(str(saved(tmp_path / "model")))
    rows = {(row.name, row.metric): row for row in suite.run(loaded, report=steps.append)}
    small, large = (rows[f"llama.cpp {kind}", "size"].value or 0 for kind in ("q8_0", "f16"))
    assert 0 < small < 0.6 * large
    for metric in ("prefill", "decode"):
        row = rows["llama.cpp q8_0", metric]
        assert row.value is not None and row.value > 0 and len(row.items) == 2
        assert row.protocol["threads"] == torch.get_num_threads()
    assert (rows["llama.cpp q8_0", "peak_memory"].value or 0) > 0
    speed = [step for step in steps if step.stage == "speed"]
    assert [step.done for step in speed] == [0, 1, 2, 3, 4] and speed[-1].total == 4
    assert "s left" in speed[2].note and "left" not in speed[-1].note


def test_two_runs_that_agree_show_no_speed() -> None:
    assert "could be shown" in _verdict(1.26, (1.26, 1.26), 2)
    assert "1.26 times the speed" in _verdict(1.26, (1.26, 1.26), 5)


def test_zeros_come_back_even_after_a_failure() -> None:
    linears = prunable_linears(pruned_subject(0.5).model)
    before = [linear.read().clone() for linear in linears]
    with pytest.raises(RuntimeError, match="planted"), _zeros_filled(linears):
        for linear in linears:
            weight = linear.read()
            assert int(((weight == 0) & ~torch.signbit(weight)).sum()) == 0
        raise RuntimeError("planted")
    for linear, weight in zip(linears, before, strict=True):
        assert torch.equal(linear.read().view(torch.int32), weight.view(torch.int32))


def test_settings_of_a_checkpoint_cost_no_time() -> None:
    model, rows = tiny_subject().model, list[int]()
    model.generation_config.num_beams = 4
    model.get_input_embeddings().register_forward_hook(lambda _, ids, __: rows.append(len(ids[0])))
    time_once(model, 2, 4, 3, 0)
    assert set(rows) == {2} and model.generation_config.num_beams == 4


def test_generation_runs_to_its_full_length() -> None:
    subject, passes = tiny_subject(), []
    subject.model.register_forward_hook(lambda *_: passes.append(1))
    for new in (1, 60):
        passes.clear()
        time_once(subject.model, 2, 8, new, 0)
        # One over the prompts by itself; with a cache, generation makes one a token.
        assert len(passes) == 1 + new


ALLOCATES = """
import torch
from torch import nn
from autoprune.evaluation.suites.latency import peak_memory

model = nn.Linear(2, 2)
model.device = torch.device("cpu")
with peak_memory(model) as before:
    pass
with peak_memory(model) as after:
    torch.ones(50_000_000).sum()
print(after[0] - before[0] if before else "the system cannot say")
"""


def test_peak_memory_sees_an_allocation() -> None:
    # A process of its own: what tests before this one gave back could be taken again.
    words = [sys.executable, "-c", ALLOCATES]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True)
    if "cannot say" not in done.stdout:
        assert float(done.stdout) > 150e6


def test_memory_is_that_of_the_measured_model_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "peaks_alone", peaks_alone)
    subject = tiny_subject()
    # Stands for the dense model that a comparison holds next to the smaller one.
    held = torch.ones(100_000_000)
    with peak_memory(subject.model) as here:
        time_once(subject.model, 1, 8, 3, 0)
    rows = {(row.name, row.metric): row for row in QUICK.run(subject)}
    found = rows["batch 1", "peak_memory"]
    if not here:
        assert "does not report" in (found.reason or "")
        return
    assert 5e7 < (found.value or 0) < here[0] - 0.5 * held.numel() * held.element_size()


def test_without_its_process_memory_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "peaks_alone", peaks_alone)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    rows = {(row.name, row.metric): row for row in QUICK.run(tiny_subject())}
    missing = rows["batch 2", "peak_memory"]
    assert missing.status == "unavailable" and "exit code 1 (no message)" in (missing.reason or "")
    # Another run may find the memory or the time.
    assert missing.details == {PASSING: True}
    assert rows["batch 2", "latency"].value


def test_wrong_settings_are_refused() -> None:
    assert build_suite("cost:batches=1+16").batches == (1, 16)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="repeats 0"):
        CostSuite(repeats=0)
    with pytest.raises(UsageError, match="exceed the model's 16 positions"):
        CostSuite(prompt=20).run(tiny_subject(positions=16))
