"""A smaller hidden size: rotate hidden states to principal directions, delete the smallest."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.errors import UsageError
from autoprune.precision import in_float64
from autoprune.progress import Progress, Report, silent
from autoprune.schemes.hidden import HiddenParts, hidden_parts, hidden_sizes
from autoprune.schemes.plan import SchemePlan, Step
from autoprune.schemes.scheme import SCHEMES, Scheme
from autoprune.schemes.surgery import block_parameters

_BATCH = 4


@SCHEMES.register("rotate")
@dataclass(frozen=True)
class Rotate(Scheme):
    """Remove the directions of hidden states that vary least, the same ones in the whole model.

    Embedding, head and norms get narrower too, and untying a tied head adds one table. All of this
    counts: the share is what the whole model loses, relative to the parameters of the blocks.

    Args:
        directions: ``principal``: eigenvectors of the second moment of the inputs of all norms,
            each token divided by its root mean square as in the norm; ``random``: a control.
        multiple: Divisor of the new hidden size; ``none``: 8, or the number of heads if the
            configuration requires that. GGUF's q8_0 requires 32.
    """

    NAME: ClassVar[str] = "rotate"
    SOURCE: ClassVar[str] = "SliceGPT, arXiv 2401.15024, with one rotation for all blocks"
    NARROWS: ClassVar[bool] = True
    KEEPS_STATES: ClassVar[bool] = False

    directions: Literal["principal", "random"] = "principal"
    multiple: int | None = None

    def __post_init__(self) -> None:
        self._require("multiple", self.multiple is None or self.multiple >= 1, "1 or above")

    @property
    def reads_text(self) -> bool:
        """False only for a random choice."""
        return self.directions != "random"

    @property
    def stochastic(self) -> bool:
        """Whether the seed matters."""
        return self.directions == "random"

    def shapes_only(self) -> Scheme:
        """See :meth:`Scheme.shapes_only`."""
        return replace(self, directions="random")

    def plan(
        self,
        model: PreTrainedModel,
        windows: Tensor | None,
        target: float,
        *,
        seed: int = 0,
        report: Report = silent,
    ) -> SchemePlan:
        """Choose the directions to keep, the largest first."""
        parts = hidden_parts(model)
        before = sum(block_parameters(model))
        size = self.size(model, parts, before, target)
        gone = parts.size - size
        outside = parts.outside(parts.size) - parts.outside(size)
        facts: dict[str, Any] = {"hidden": [parts.size, size]}
        steps: tuple[Step, ...] = ()
        notes: tuple[str, ...] = ()
        if gone:
            if self.directions == "random":
                generator = torch.Generator().manual_seed(seed)
                drawn = torch.randn(parts.size, size, generator=generator, dtype=torch.float64)
                kept = torch.linalg.qr(drawn).Q
            else:
                assert windows is not None
                moment = second_moment(model, windows, report=report)
                values, vectors = torch.linalg.eigh(moment)
                kept = vectors.flip(1)[:, :size].cpu()
                facts["variance_kept"] = float(values[gone:].sum() / values.sum())
            steps = (Step(directions=kept.contiguous()),)
            if parts.unties:
                facts["untied"] = size * parts.embedding.num_embeddings
                notes = (
                    "the last norm's gains moved into the head, which no longer is the embedding: "
                    f"{facts['untied']:,} parameters more, counted in the share",
                )
        after = before - gone * parts.per_feature()
        return SchemePlan(
            self.text, target, steps, before, after, {"rotate": facts}, notes, outside
        )

    def size(
        self, model: PreTrainedModel, parts: HiddenParts, parameters: int, target: float
    ) -> int:
        """Number of features to keep, as close to the target as possible.

        Args:
            model: The model.
            parts: Parts of its hidden states.
            parameters: Parameters of all blocks.
            target: Share of them that the model should lose.

        Raises:
            UsageError: If even the smallest hidden size does not remove enough.
        """
        sizes = hidden_sizes(model, self.multiple)
        lost = {size: parts.lost(size) for size in (parts.size, *sizes)}
        least = min(lost)
        if target * parameters > lost[least]:
            raise UsageError(
                f"a share of {target:g} is more than the {lost[least] / parameters:.4g} that a "
                f"hidden size of {least} saves, the smallest that {self.text} and the "
                "configuration allow; lower it, or remove blocks too: --scheme depth+rotate"
            )
        return min(lost, key=lambda size: abs(lost[size] - target * parameters))


@torch.no_grad()
def second_moment(model: PreTrainedModel, windows: Tensor, *, report: Report = silent) -> Tensor:
    """Sum of ``x x^T`` over all tokens and norms, ``x`` of root mean square 1; float64 [d, d].

    Without this normalisation, a few tokens with huge activations would dominate.

    Args:
        model: Model of a family that :mod:`autoprune.schemes.hidden` supports, in eval mode.
        windows: Token ids, int64 [n, s].
        report: Callback, called after each batch.
    """
    parts = hidden_parts(model)
    device = parts.embedding.weight.device
    total = in_float64(torch.zeros(parts.size, parts.size, device=device))

    def add(_: nn.Module, args: tuple[Any, ...]) -> None:
        x = args[0].detach().flatten(0, -2).float()
        x = x * x.square().mean(-1, keepdim=True).clamp_min(1e-12).rsqrt()
        total.add_((x.T @ x).to(total.device))

    handles = [norm.register_forward_pre_hook(add) for norm, _ in parts.readers]
    try:
        batches = torch.split(windows, _BATCH)
        for number, batch in enumerate(batches, 1):
            model.base_model(input_ids=batch.to(device), use_cache=False)
            report(Progress("rotate", number, len(batches)))
    finally:
        for handle in handles:
            handle.remove()
    return total
