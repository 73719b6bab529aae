"""Recover a whole model: what is left is trained on the dense model's predictions."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.evaluation.kl import DensePredictions, kl_to_dense
from autoprune.models.structure import PrunableLinear
from autoprune.progress import Progress, Report, silent
from autoprune.pruning.head import Head
from autoprune.pruning.lowrank import LowRank
from autoprune.pruning.masters import Master, gradients_of, masters_of, products_of, vectors_of
from autoprune.pruning.plan import Precision, PruningPlan
from autoprune.pruning.teacher import Teacher, products_in, teach
from autoprune.repair import ModelRecovery

# The held-out windows judge as often; so many judgements in a row without a better one end it.
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
    """Train a smaller model towards what its dense teacher predicts, in place.

    AdamW lowers the mean over tokens of KL(teacher || model); the predictions that the teacher kept
    no number of count as one outcome, so the loss is a lower bound of the distance over the whole
    vocabulary. Products are in bfloat16 where the machine has them and ``precision`` allows it;
    weights and steps are float32. Held-out windows judge every ten steps: the best weights stay,
    those of the start where nothing was better, and three judgements without progress end it.

    Args:
        model: In eval mode; masked, or of a smaller shape with the teacher's vocabulary.
        teacher: See :func:`teach`.
        moved: Parameters that may move, and which of their weights may not; see
            :func:`movable`.
        how: Steps, windows of a step, rate.
        seed: Of the order of windows from the second round on; the first is the text's own.
        precision: ``float32`` for results that do not depend on what the processor has.
        report: Called after every step, with the distance.

    Returns:
        Notes: what the recovery achieved, and what of its windows a person should know.

    References:
        arXiv 1503.02531 for the loss, 2503.16870 for what few kept predictions cost.
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


def movable(
    model: PreTrainedModel, matrices: Sequence[Master], how: ModelRecovery, seed: int = 0
) -> list[Master]:
    """The parameters that a recovery moves: by ``how.move`` the matrices, norms and biases.

    Embeddings and the head stay as they are.

    Args:
        model: In eval mode.
        matrices: Masters of the weights that were pruned or may move otherwise.
        how: Says which, and whether the matrices move by updates of low rank.
        seed: Of these updates' random half.
    """
    small = [Master.of(parameter) for parameter in vectors_of(model).values()]
    if how.lora:
        generator = torch.Generator().manual_seed(seed)
        matrices = [LowRank.beside(part, how.lora, generator) for part in matrices]
    return small if how.move == "norms" else [*matrices, *small]


class Recovery:
    """A recovery of one pruning: taught while the model is dense, run when all else is done.

    Args:
        model: The model.
        plan: Its recovery, seed and precision.
        how: The same recovery.
        teacher: What the dense model predicted.
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
        """The recovery of a plan, its teacher run on the model as it stands; None without one."""
        how = plan.repair.recovery
        if how is None or windows is None:
            return None
        teacher = teach(model, how, fresh, windows, precision=plan.precision, report=report)
        return cls(model, plan, how, teacher, report)

    def run(self, layers: Sequence[PrunableLinear], keep: Mapping[str, Tensor]) -> list[str]:
        """Recover the pruned model; returns notes.

        Args:
            layers: Its pruned layers.
            keep: Their masks, which stay, bool [o, i].
        """
        plan, how = self._plan, self._how
        matrices = masters_of(layers, keep) if how.move == "all" else []
        moved = movable(self._model, matrices, how, plan.seed)
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
    """Steps that were taken."""
    head = Head(model, train.tokens[:1])
    trained = [value for part in moved for value in part.trained]
    optimizer = torch.optim.AdamW(trained, lr=how.rate, fused=True)
    order = _order(len(train.tokens), seed)
    with _frozen(model), gradients_of(moved):
        for step in range(how.steps):
            for group in optimizer.param_groups:
                group["lr"] = how.rate * 0.5 * (1.0 + math.cos(math.pi * step / how.steps))
            loss = 0.0
            with torch.enable_grad(), products_of(model.device, model.dtype, precision):
                for number in islice(order, how.batch):
                    loss += head.backward(train, number, 1.0 / how.batch)
            for part in moved:
                part.take(part.parameter.grad)
                part.parameter.grad = None
            optimizer.step()
            for part in moved:
                part.publish()
            report(Progress("recovery", step + 1, how.steps, f"{loss:.3f} nats from dense"))
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
        """Measure the weights of a step; returns how many in a row were no better."""
        if self._held_out is None:
            return 0
        found = kl_to_dense(self._model, self._held_out, batch=1, autocast=self._products)
        mean = sum(found) / len(found)
        self._worse += 1
        if mean < self.best or not self._copies:
            self.best, self.step, self._worse = mean, step, 0
            self._copies = [value.detach().clone() for value in self._parameters]
        return self._worse

    def restore(self) -> None:
        """Write the best weights back."""
        for value, copy in zip(self._parameters, self._copies, strict=True):
            value.detach().copy_(copy)


def _order(count: int, seed: int) -> Iterator[int]:
    """Windows without end: as they are first, then shuffled anew in every round."""
    yield from range(count)
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=generator).tolist()


@contextmanager
def _frozen(model: PreTrainedModel) -> Iterator[None]:
    """Have no gradients flow to any parameter, and to them as before afterwards."""
    asked = [(value, value.requires_grad) for value in model.parameters()]
    for value, _ in asked:
        value.requires_grad_(False)
    try:
        yield
    finally:
        for value, own in asked:
            value.requires_grad_(own)
            value.grad = None
