"""Results of a bench for a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autoprune.evaluation.perplexity import perplexity_of


@dataclass(frozen=True)
class Validation:
    """Whether a candidate may be measured.

    Args:
        ok: Whether it was accepted.
        code: ``ok`` or the rejection's code, for example ``nan_scores``, ``timeout``.
        detail: One line that helps a designer fix the candidate, at most 400 characters.
        signature: Digest of the masks on the probe layers, under the recipe's group; for a
            program, digest of the new weights of three blocks.
        reconstruction_error: Relative output error on the probe layers, if computed; for a
            program, on the three blocks and calibration windows that it did not see.
        errors: The same error for each probe layer, by kind of matrix and block.
        budget: For a scheme at a budget in bytes or speed: ``share`` of the blocks' parameters
            that it takes, and what was timed to find it; else empty.
    """

    ok: bool
    code: str = "ok"
    detail: str = ""
    signature: str | None = None
    reconstruction_error: float | None = None
    seconds: float = 0.0
    errors: Mapping[str, float] = field(default_factory=dict)
    budget: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """Losses of a model, pruned or dense.

    Args:
        nll: Mean nats per token of each window, in window order.
        tokens: Scored tokens over all windows.
        perplexity: exp of the token-weighted mean.
        layer_sparsity: Share of zeros of each linear.
        mask_digest: Digest of the whole mask.
        sparsity: Share of zeros over all prunable weights, as counted.
        kl: Mean distance to the dense model of each window, nats per token; empty: not measured.
    """

    nll: tuple[float, ...]
    tokens: int
    perplexity: float
    layer_sparsity: Mapping[str, float] = field(default_factory=dict)
    mask_digest: str = ""
    sparsity: float = 0.0
    seconds: float = 0.0
    kl: tuple[float, ...] = ()

    def followed_by(self, later: "Measurement") -> "Measurement":
        """The same recipe on these windows followed by ``later``'s, all of the same length."""
        nll = self.nll + later.nll
        return replace(
            later,
            nll=nll,
            tokens=self.tokens + later.tokens,
            perplexity=perplexity_of(nll),
            seconds=self.seconds + later.seconds,
            kl=self.kl + later.kl,
        )
