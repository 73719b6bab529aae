"""The task border: plain values pass, models and tensors do not."""

from typing import Any

import pytest
import torch

from tasks.policies import LARGEST_VALUE, TaskBoundaryError, step
from tests.support.tiny_subject import tiny_subject


@step("echo")
def echo(value: Any) -> Any:
    """Return what was given."""
    return value


@step("make tensor")
def make_tensor() -> Any:
    """Return what may not cross."""
    return torch.zeros(2)


@pytest.mark.parametrize("value", [None, 1, 0.5, "a", [1, "b"], {"a": {"b": [None, True]}}])
def test_plain_values_pass(value: Any) -> None:
    assert echo(value) == value


@pytest.mark.parametrize("value", [torch.zeros(2), {"weights": torch.ones(1)}, object(), {1, 2}])
def test_objects_are_refused_by_name(value: Any) -> None:
    with pytest.raises(TaskBoundaryError, match="echo"):
        echo(value)


def test_a_model_is_refused() -> None:
    with pytest.raises(TaskBoundaryError, match="LlamaForCausalLM"):
        echo(tiny_subject().model)


def test_a_tensor_does_not_come_back() -> None:
    with pytest.raises(TaskBoundaryError, match="make tensor"):
        make_tensor()


def test_bulk_is_refused() -> None:
    with pytest.raises(TaskBoundaryError, match="write the data to a file"):
        echo("x" * (LARGEST_VALUE + 1))
