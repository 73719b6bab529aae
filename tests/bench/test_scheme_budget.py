"""Budgets of schemes in bytes, by closed form, and in speed, by a clock that the test brings."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from autoprune.bench.scheme_budget import SchemeBudget
from autoprune.bench.smaller import Shrinking
from autoprune.budget import Budget
from autoprune.comparison.methods import parse_method
from autoprune.comparison.plan import Target, parse_targets
from autoprune.errors import UsageError
from autoprune.models.saving import save_model
from autoprune.models.structure import find_blocks
from tests.support.tiny_models import random_windows, tiny_model

BLOCKS = 10
WINDOWS = random_windows(4, 12)


def model_of(family: str = "llama", **changes: object) -> PreTrainedModel:
    if family == "qwen2":
        changes |= {"layer_types": ["full_attention"] * BLOCKS}
    return tiny_model(family, 0, num_hidden_layers=BLOCKS, **changes)


def saved_tensors(model: PreTrainedModel, folder: Path, dtype: torch.dtype | None) -> int:
    save_model(model, None, folder, {}, dtype=dtype)
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        return sum(file.get_tensor(name).nbytes for name in file.keys())  # noqa: SIM118


@pytest.mark.parametrize(
    ("family", "text", "dtype"),
    [
        ("llama", "depth:criterion=influence", None),
        ("llama", "width", torch.bfloat16),
        ("qwen2", "depth:criterion=random,patch=none+width:fit=false", torch.bfloat16),
        ("mixtral", "experts", None),
    ],
)
def test_bytes_are_those_of_the_files_and_come_nearest(
    family: str, text: str, dtype: torch.dtype | None, tmp_path: Path
) -> None:
    model = model_of(family, tie_word_embeddings=True)
    asked = SchemeBudget(Budget(bytes=0.25), dtype)
    before = saved_tensors(model, tmp_path / "dense", dtype)
    assert asked.bytes_of(model) == before
    block = sum(p.numel() for p in find_blocks(model)[0].parameters()) * (2 if dtype else 4)
    made = Shrinking.parse(text).apply(model, asked, WINDOWS)
    after = saved_tensors(model, tmp_path / "smaller", dtype)
    found = made.to_json()["budget"]
    assert (found["bytes_before"], found["bytes"]) == (before, after)
    assert found["bytes_removed"] == 1.0 - after / before
    # Half a block; half of an expert, of four, in each; half of a neuron in each, norms aside.
    step = {"depth": block, "experts": BLOCKS * block / 4}.get(text.partition(":")[0], block / 10)
    assert abs((before - after) - 0.25 * before) <= step / 2 * 1.01


def clock(calls: list[int]) -> Callable[[PreTrainedModel], float]:
    """A machine whose tokens per second follow from the parameters of the blocks alone."""

    def speed(model: PreTrainedModel) -> float:
        held = sum(p.numel() for block in find_blocks(model) for p in block.parameters())
        calls.append(held)
        return 1e6 / (5_000 + held)

    return speed


def test_speed_is_reached_by_the_smallest_step_and_each_is_measured_once() -> None:
    model, calls = model_of(), list[int]()
    speed, state = clock(calls), {k: v.clone() for k, v in model.state_dict().items()}
    blocks = [sum(p.numel() for p in block.parameters()) for block in find_blocks(model)]
    whole = sum(blocks)
    times = [speed(model) and (5_000 + whole) / (5_000 + whole - n * blocks[0]) for n in range(10)]
    wanted = next(n for n in range(10) if times[n] >= 1.3)
    calls.clear()
    how = Shrinking.parse("depth:criterion=influence,patch=none")
    asked = SchemeBudget(Budget(faster=1.3), speed=speed)
    share, _ = asked.share(model, how.scheme, WINDOWS)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert len(calls) == len(set(calls)) <= 1 + 7 and calls[0] == whole
    made = how.apply(model, asked, WINDOWS)
    assert len(find_blocks(model)) == BLOCKS - wanted and made.plan.target == share
    found = made.to_json()["budget"]
    assert found["faster"] == pytest.approx(times[wanted]) and found["asked"].startswith("1.3")
    assert {round(1 - n * blocks[0] / whole, 6) for n in range(10)} >= {
        round(1 - tried["share"], 6) for tried in found["speed_tried"]
    }


def test_neurons_reach_a_speed_within_a_hundredth() -> None:
    model, calls = model_of(), list[int]()
    asked = SchemeBudget(Budget(faster=1.2), speed=clock(calls))
    made = Shrinking.parse("width:score=magnitude,fit=false").apply(model, asked)
    assert made.budget["faster"] >= 1.2
    slower = [tried["times"] for tried in made.budget["speed_tried"] if tried["times"] < 1.2]
    assert max(slower) > 1.15


@pytest.mark.parametrize(
    ("text", "budget", "says"),
    [
        ("depth:protect=4-2", Budget(bytes=0.6), r"the blocks hold \d\d\.\d% .* about 3\d\.\d%"),
        ("depth", Budget(bytes=0.97), "cannot take 97.0% of the bytes"),
        ("depth:protect=4-2", Budget(faster=9.0), r"at most 1\.\d\d times .* with 40%"),
        ("depth:protect=10-0", Budget(faster=1.1), r"at most 1\.00 times .* with 0%"),
    ],
)
def test_what_is_out_of_reach_is_refused_with_the_most(
    text: str, budget: Budget, says: str
) -> None:
    model = model_of()
    with pytest.raises(UsageError, match=says):
        Shrinking.parse(text).apply(model, SchemeBudget(budget, speed=clock([])), WINDOWS)
    assert len(find_blocks(model)) == BLOCKS


@pytest.mark.parametrize("budget", [Budget(bytes=0.1), Budget(faster=1.1)])
def test_what_is_wrong_with_the_scheme_is_not_called_out_of_reach(budget: Budget) -> None:
    calls: list[int] = []
    with pytest.raises(UsageError, match="multiple 7 does not divide"):
        Shrinking.parse("width:multiple=7").apply(
            model_of(), SchemeBudget(budget, speed=clock(calls)), WINDOWS
        )
    assert not calls


@pytest.mark.parametrize("budget", [Budget(bytes=0.2), Budget(faster=1.2)])
def test_what_removes_nothing_has_no_budget_in_bytes_or_speed(budget: Budget) -> None:
    asked = SchemeBudget(budget, speed=clock([]))
    # Without text: refused before anything is planned or timed.
    with pytest.raises(UsageError, match="'skip' leaves bytes and time as they are"):
        asked.share(model_of("mixtral"), Shrinking.parse("skip").scheme)


def test_budgets_are_checked_and_read() -> None:
    for wrong, says in (
        ({"bytes": 1.0}, "not a share that can be removed"),
        ({"faster": 1.0}, "not faster"),
        ({"bytes": 0.2, "faster": 1.2}, "several budgets"),
        ({"sparsity": 0.2, "bytes": 0.2}, "several budgets"),
    ):
        with pytest.raises(UsageError, match=says):
            Budget(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="zeros bring neither"):
        _ = Budget(faster=1.2).share
    targets = parse_targets([0.2], [], {"bytes": [0.25], "faster": [1.3]})
    labels = [target.label for target in targets]
    assert labels == ["20 %", "25 % of the bytes", "1.3 times the speed"]
    assert targets[1].budget == Budget(bytes=0.25) and targets[2].budget == Budget(faster=1.3)
    with pytest.raises(UsageError, match="pattern of zeros"):
        _ = Target(0.5, "2:4").budget
    assert parse_method("depth").scheme == "depth"
