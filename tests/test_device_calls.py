"""What inner loops ask of an accelerator, read from the calls that a fake one records.

The device ``meta`` stands in for one: it computes shapes and has no values, so work that reads a
value or copies one to main memory fails there, and is recorded before it does. Tensors in main
memory are as always.
"""

from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from autoprune.evaluation.kl import DensePredictions
from autoprune.models.capture import BlockStream
from autoprune.models.structure import find_blocks, prunable_linears
from autoprune.progress import Progress
from autoprune.pruning import recovery, tuning
from autoprune.pruning.head import Head
from autoprune.pruning.masters import Master, gradients_of, masters_of
from autoprune.repair import BlockTuning, ModelRecovery
from autoprune.statistics.recorder import BlockRecorder
from autoprune.statistics.statistics import ALL, GRADIENT
from tests.support.tiny_models import random_windows, tiny_model

# Operations that wait until a value is there, and those that copy.
READS = {"aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::is_nonzero"}
COPIES = {"aten::_to_copy", "aten::copy_"}
META = torch.device("meta")


class Calls(TorchDispatchMode):
    """Records reads of values and copies to main memory, by the device they are from.

    Args:
        device: That of the tensors.
    """

    def __init__(self, device: str = "meta") -> None:
        super().__init__()
        self._device = device
        self.read: list[str] = []
        self.fetched: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name, kwargs = func.name().partition(".")[0], kwargs or {}
        tensors = [value for value in args if isinstance(value, Tensor)]
        here = bool(tensors) and tensors[-1].device.type == self._device
        if name in READS and here:
            self.read.append(name)
        if name in COPIES and here:
            to = tensors[0].device if name == "aten::copy_" else kwargs.get("device")
            if to is not None and torch.device(to).type == "cpu":
                self.fetched.append(name)
        return func(*args, **kwargs)


@pytest.fixture(autouse=True)
def no_packed_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the one value that transformers itself reads in every pass of a whole model."""
    place = "transformers.masking_utils.find_packed_sequence_indices"
    monkeypatch.setattr(place, lambda position_ids: None)


def on_device(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device=META)


def stream_of(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> BlockStream:
    """Three batches before the first block of a model on the device.

    Equal masks are not looked for, which is done once, before the first block.
    """
    monkeypatch.setattr("autoprune.models.capture._TensorPool.share", lambda self, value: value)
    windows = torch.ones(6, 12, dtype=torch.int64)
    return BlockStream(model, windows, batch=2, lengths=[0] * len(find_blocks(model)))


def test_a_value_that_is_read_and_a_copy_that_is_fetched_are_recorded() -> None:
    with Calls() as calls:
        on_device(3).to(META, torch.float64)
        torch.empty(3).to(META)
        on_device(3).copy_(torch.empty(3))
        float(torch.zeros(3).sum())
    assert calls.read == calls.fetched == []
    with pytest.raises(NotImplementedError, match="no data"), Calls() as calls:
        on_device(3).cpu()
    assert calls.fetched == ["aten::_to_copy"]
    with pytest.raises(NotImplementedError, match="no data"), Calls() as calls:
        torch.empty(3).copy_(on_device(3))
    assert calls.fetched == ["aten::copy_"]
    with pytest.raises(RuntimeError, match="meta"), Calls() as calls:
        float(on_device(3).sum())
    assert calls.read == ["aten::_local_scalar_dense"]


def test_statistics_stay_on_the_device_from_batch_to_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama").to(META)
    stream = stream_of(model, monkeypatch)
    linears = [linear for linear in prunable_linears(model) if linear.block == 0]
    # It knows no such device.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    with BlockRecorder(stream.blocks[0], linears, ALL - {GRADIENT}) as recorder, Calls() as calls:
        stream.advance()
    assert recorder._accumulators and calls.read == calls.fetched == []
    # They are fetched at the end.
    with Calls() as calls, pytest.raises(NotImplementedError, match="no data"):
        recorder.results()
    assert calls.fetched == ["aten::_to_copy"]


def test_steps_of_block_tuning_read_and_fetch_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama").to(META)
    stream = stream_of(model, monkeypatch)
    members = [linear for linear in prunable_linears(model) if linear.block == 0]
    parts = masters_of(members, {x.name: on_device(*x.shape, dtype=torch.bool) for x in members})
    goals = [torch.empty_like(hidden) for hidden in stream.hidden]
    # Sizes are read once before the first step, and a fused optimiser knows no such device.
    monkeypatch.setattr(tuning, "_sizes", lambda parts: [1.0] * len(parts))
    plain = partial(torch.optim.Adam, betas=tuning.BETAS)
    monkeypatch.setattr(torch.optim, "Adam", lambda groups, **_: plain(groups))
    how = BlockTuning(epochs=2)
    with gradients_of(parts), Calls() as calls:
        tuning._descend(stream, parts, goals, how, 0, nullcontext)
    assert calls.read == calls.fetched == []


@pytest.mark.parametrize("cut", [True, False])
def test_a_window_of_recovery_reads_and_fetches_nothing(
    cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama").to(META)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    found = model.get_output_embeddings() if cut else None
    monkeypatch.setattr("autoprune.pruning.head._cut", lambda model, ids: found)
    head = Head(model, torch.ones(1, 8, dtype=torch.int64))
    tokens = torch.ones(2, 300, dtype=torch.int64)
    dense = DensePredictions(
        tokens, torch.ones(2, 300, 5, dtype=torch.int32), torch.empty(2, 300, 5)
    )
    with torch.enable_grad(), Calls() as calls:
        loss = head.backward(dense, 1, 0.5)
    assert loss.is_meta and calls.read == calls.fetched == []


def test_recovery_reads_its_loss_at_every_tenth_step_alone() -> None:
    def reads(steps: int) -> tuple[int, list[str]]:
        model = tiny_model("llama")
        windows = random_windows(4, 12)
        ids = torch.zeros(4, 12, 3, dtype=torch.int32)
        train = DensePredictions(windows, ids, torch.full((4, 12, 3), -2.0))
        judge = recovery._Judge(model, None, [], None)
        notes: list[Progress] = []
        parts = [Master.of(next(model.model.layers[0].parameters()))]
        how = ModelRecovery(steps=steps, batch=2)
        with Calls("cpu") as calls:
            recovery._train(model, train, parts, how, 0, "float32", notes.append, judge)
        assert [one.done for one in notes] == list(range(1, steps + 1))
        return calls.read.count("aten::_local_scalar_dense"), [one.note for one in notes]

    (few, _), (more, notes) = reads(2), reads(9)
    assert more == few
    assert len(set(notes)) == 1 and notes[0].endswith("nats from dense at step 1")
    longest, notes = reads(11)
    assert longest == more + 1
    assert len(set(notes)) == 2 and notes[10].endswith("at step 11")
