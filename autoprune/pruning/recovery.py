"""Recover a whole model: train the remaining weights on the dense model's predictions."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.allocator import keep_freed_memory
from autoprune.evaluation.kl import DensePredictions, kl_to_dense
from autoprune.models.structure import PrunableLinear
from autoprune.progress import Progress, Report, silent
from autoprune.pruning.head import Head
from autoprune.pruning.masters import (
    Master,
    gradients_of,
    masters_of,
    recovered_vectors,
)
from autoprune.pruning.plan import Precision, PruningPlan
from autoprune.pruning.products import products_of
from autoprune.pruning.teacher import Teacher, products_in, teach
from autoprune.repair import ModelRecovery
from autoprune.statistics.gradients import loss_scale, unscaled

# Steps between evaluations on held-out windows; PATIENCE evaluations without progress end it.
CHECK_EVERY = 10
PATIENCE = 3


def recover(
    model: PreTrainedModel,
    teacher: Teacher,
    moved: Sequence[Master],
    how: ModelRecovery,
    *,
    seed: int = 0,
    precision: Precision = "auto",
    report: Report = silent,
) -> list[str]:
    """Train a smaller model in place towards its dense teacher's predictions.

    AdamW minimises the mean over tokens of KL(teacher || model). All predictions that the teacher
    did not keep count as one outcome, so the loss is a lower bound of the distance over the whole
    vocabulary. Products are in bfloat16 if the machine supports it and ``precision`` allows it;
    weights and steps are float32. Held-out windows are evaluated every ten steps: the best weights
    are kept, possibly the initial ones, and three evaluations without progress end the training.

    References:
        arXiv 1503.02531 for the loss, 2503.16870 for the cost of keeping few predictions.
    """
    judge = _Judge(
        model, teacher.held_out, [part.parameter for part in moved], products_in(model, precision)
    )
    first = judge.best
    done = _train(model, teacher.train, moved, how, seed, precision, report, judge)
    if teacher.held_out is None:
        return [*teacher.notes, f"recovery: {done} steps, with no held-out windows to judge them"]
    judge.restore()
    if judge.best == first:
        found = f"recovery: no step came nearer to the dense model than {first:.4f}; nothing moved"
    else:
        found = (
            f"recovery: {first:.4f} to {judge.best:.4f} nats per token from the dense model, on "
            f"{len(teacher.held_out.tokens)} held-out windows; weights of step {judge.step}, "
            f"{done} of {how.steps} steps taken"
        )
    return [*teacher.notes, found]


def movable(model: PreTrainedModel, matrices: Sequence[Master]) -> list[Master]:
    """The parameters that a recovery trains: these matrices, and norms and biases.

    Embeddings and the head stay as they are.
    """
    small = [Master.of(parameter) for parameter in recovered_vectors(model)]
    return [*matrices, *small]


class Recovery:
    """The recovery of one pruning run: taught while the model is dense, run as the last step.

    Args:
        model: The model.
        plan: The plan with recovery, seed and precision.
        how: The plan's recovery.
        teacher: Predictions of the dense model.
        report: Called after every step.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        plan: PruningPlan,
        how: ModelRecovery,
        teacher: Teacher,
        report: Report,
    ) -> None:
        self._model = model
        self._plan = plan
        self._how = how
        self._teacher = teacher
        self._report = report

    @classmethod
    def taught(
        cls,
        model: PreTrainedModel,
        plan: PruningPlan,
        windows: Tensor | None,
        fresh: Tensor | None,
        report: Report,
    ) -> Self | None:
        """The plan's recovery, its teacher run on the model as it is; None without a recovery."""
        how = plan.repair.recovery
        if how is None or windows is None:
            return None
        teacher = teach(model, how, fresh, windows, precision=plan.precision, report=report)
        return cls(model, plan, how, teacher, report)

    def run(self, layers: Sequence[PrunableLinear], keep: Mapping[str, Tensor]) -> list[str]:
        """Recover the pruned model and return notes."""
        plan, how = self._plan, self._how
        moved = movable(self._model, masters_of(layers, keep))
        return recover(
            self._model,
            self._teacher,
            moved,
            how,
            seed=plan.seed,
            precision=plan.precision,
            report=self._report,
        )


def _train(
    model: PreTrainedModel,
    train: DensePredictions,
    moved: Sequence[Master],
    how: ModelRecovery,
    seed: int,
    precision: Precision,
    report: Report,
    judge: "_Judge",
) -> int:
    """Train and return the number of steps taken."""
    keep_freed_memory()
    head = Head(model, train.tokens[:1])
    optimizer = torch.optim.AdamW([part.master for part in moved], lr=how.rate, fused=True)
    order, scale = _order(len(train.tokens), seed), loss_scale(model.dtype)
    with _frozen(model), gradients_of(moved):
        for step in range(how.steps):
            for group in optimizer.param_groups:
                group["lr"] = how.rate_at(step)
            with torch.enable_grad(), products_of(model.device, model.dtype, precision):
                numbers = islice(order, how.batch)
                losses = [head.backward(train, number, scale / how.batch) for number in numbers]
            for part in moved:
                part.take(unscaled(part.parameter.grad, scale))
                part.parameter.grad = None
            optimizer.step()
            for part in moved:
                part.publish()
            if step % CHECK_EVERY == 0:
                # Reading a loss waits for an accelerator, which should run ahead of this loop.
                distance = float(sum(losses)) / scale
                note = f"{distance:.3f} nats from dense at step {step + 1}"
            report(Progress("recovery", step + 1, how.steps, note))
            if (step + 1) % CHECK_EVERY == 0 and judge.looks(step + 1) >= PATIENCE:
                return step + 1
    if how.steps % CHECK_EVERY:
        judge.looks(how.steps)
    return how.steps


class _Judge:
    """Measures the held-out windows and remembers the best weights."""

    def __init__(
        self,
        model: PreTrainedModel,
        held_out: DensePredictions | None,
        parameters: Sequence[nn.Parameter],
        products: torch.dtype | None,
    ) -> None:
        self._model = model
        self._held_out = held_out
        self._parameters = list(parameters)
        self._products = products
        self._copies: list[Tensor] = []
        self.best, self.step, self._worse = math.inf, 0, 0
        self.looks(0)

    def looks(self, step: int) -> int:
        """Measure the weights of a step; return how many in a row were no better."""
        if self._held_out is None:
            return 0
        found = kl_to_dense(self._model, self._held_out, batch=1, autocast=self._products)
        mean = sum(found) / len(found)
        self._worse += 1
        if mean < self.best or not self._copies:
            self.best, self.step, self._worse = mean, step, 0
            if not self._copies:
                self._copies = [torch.empty_like(value) for value in self._parameters]
            # In place: a second set of copies would be a third model in memory.
            for copy, value in zip(self._copies, self._parameters, strict=True):
                copy.copy_(value.detach())
        return self._worse

    def restore(self) -> None:
        """Write the best weights back."""
        for value, copy in zip(self._parameters, self._copies, strict=True):
            value.detach().copy_(copy)


def _order(count: int, seed: int) -> Iterator[int]:
    """Yield window numbers endlessly: first in order, then reshuffled every epoch."""
    yield from range(count)
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=generator).tolist()


@contextmanager
def _frozen(model: PreTrainedModel) -> Iterator[None]:
    """Disable gradients for all parameters; restore their flags afterwards."""
    asked = [(value, value.requires_grad) for value in model.parameters()]
    for value, _ in asked:
        value.requires_grad_(False)
    try:
        yield
    finally:
        for value, own in asked:
            value.requires_grad_(own)
            value.grad = None
