"""The promotion gate: what a challenger must show to become champion. Pure arithmetic."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autoprune.masking.quotas import budget_zeros
from autoprune.names import UNSTRUCTURED
from autoprune.report.sealed import SealedSet
from autoprune.search.paired import Difference, paired_difference

# Shares of zeros that differ by less are the same target.
SAME_SHARE = 1e-9


@dataclass(frozen=True)
class GateCheck:
    """One line of the gate table.

    Args:
        name: What is checked.
        ok: Whether it passes.
        champion: The champion's figure, for display; a dash if there is none.
        challenger: The challenger's figure.
        detail: Why it passes or not.
    """

    name: str
    ok: bool
    champion: str
    challenger: str
    detail: str


@dataclass(frozen=True)
class GateVerdict:
    """All checks and their outcome.

    Args:
        passed: Every check passes.
        reason: One sentence for the version's tag.
        checks: The table.
    """

    passed: bool
    reason: str
    checks: tuple[GateCheck, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return asdict(self) | {"checks": [asdict(check) for check in self.checks]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "GateVerdict":
        """Inverse of :meth:`to_json`; further keys, as records of promotions have, are ignored."""
        checks = tuple(GateCheck(**check) for check in value["checks"])
        return cls(value["passed"], value["reason"], checks)


def judge(
    champion: Mapping[str, Any] | None,
    challenger: Mapping[str, Any],
    *,
    accept_tie: bool,
    larger_by: float,
) -> GateVerdict:
    """Judge a challenger."""
    checks = (
        _perplexity(champion, challenger, accept_tie),
        *_made(champion, challenger, larger_by),
        _reload(challenger),
        _size(champion, challenger, larger_by),
        *_sealed(challenger),
        *_text(challenger),
    )
    failed = [check for check in checks if not check.ok]
    if failed:
        return GateVerdict(False, "; ".join(f"{c.name}: {c.detail}" for c in failed), checks)
    return GateVerdict(True, f"{checks[0].name}: {checks[0].detail}", checks)


def _perplexity(
    champion: Mapping[str, Any] | None, challenger: Mapping[str, Any], accept_tie: bool
) -> GateCheck:
    shown = f"{challenger['perplexity']:.3f}"
    if champion is None:
        detail = "there is no champion to compare with"
        finite = _finite(challenger["nll"])
        return GateCheck("perplexity", finite, "-", shown, detail if finite else "it is not finite")
    before = f"{champion['perplexity']:.3f}"
    if not _finite(challenger["nll"]):
        return GateCheck("perplexity", False, before, shown, "the challenger's is not finite")
    if not _finite(champion["nll"]):
        return GateCheck("perplexity", True, before, shown, "the champion's is not finite")
    found = paired_difference(challenger["nll"], champion["nll"])
    low, high = _interval(found)
    figures = (
        f"{100 * found.perplexity_change:+.2f} % on {found.windows} windows, 95 % interval of the "
        f"paired difference {low:+.4f} to {high:+.4f} nats per token"
    )
    if high < 0.0:
        return GateCheck("perplexity", True, before, shown, figures)
    if low > 0.0:
        return GateCheck("perplexity", False, before, shown, f"worse: {figures}")
    says = "a tie, accepted" if accept_tie else "a tie (--accept-tie lets it pass)"
    return GateCheck("perplexity", accept_tie, before, shown, f"{says}: {figures}")


def _interval(found: Difference) -> tuple[float, float]:
    """95 % interval by Student's t, in nats per token.

    From 32 windows on, a search takes the normal quantile for it, which is too narrow: 1.960 where
    100 windows have 1.984. Verdicts of searches are replayed from their logs and stay as they are.
    """
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    if found.windows < 2:
        return found.low, found.high
    half = found.error * float(stdtrit(found.windows - 1, 0.975))
    return found.mean - half, found.mean + half


def _made(
    champion: Mapping[str, Any] | None, challenger: Mapping[str, Any], larger_by: float
) -> tuple[GateCheck, ...]:
    """Check what was removed: zeros, counted again, or parameters if a scheme made either one."""
    by_scheme = [_by_scheme(model) for model in (champion, challenger)]
    zeros = () if by_scheme[1] else (_sparsity(champion, challenger),)
    return zeros + ((_parameters(champion, challenger, larger_by),) if any(by_scheme) else ())


def _by_scheme(model: Mapping[str, Any] | None) -> bool:
    return model is not None and "scheme" in (model.get("recorded") or {})


def _parameters(
    champion: Mapping[str, Any] | None, challenger: Mapping[str, Any], larger_by: float
) -> GateCheck:
    mine, recorded = challenger["recount"]["total"], challenger["recorded"] or {}
    before, shown = "-", f"{mine:,}"
    counted = "counted again in the files"
    if _by_scheme(challenger):
        counted += f"; {recorded['share']:.2%} of the blocks' removed by {recorded['scheme']}"
        if mine != recorded["total"]:
            detail = f"the written files hold {mine:,} and the record says {recorded['total']:,}"
            return GateCheck("parameters", False, before, shown, detail)
    if champion is None:
        return GateCheck("parameters", True, before, shown, counted)
    other = champion["recount"]["total"]
    before = f"{other:,}"
    if mine > other * (1.0 + larger_by):
        detail = (
            f"more than the champion's, and at most {100 * larger_by:g} % more are allowed: a "
            "smaller model is not replaced by a larger one (--larger-by)"
        )
        return GateCheck("parameters", False, before, shown, detail)
    return GateCheck("parameters", True, before, shown, counted)


def _sparsity(champion: Mapping[str, Any] | None, challenger: Mapping[str, Any]) -> GateCheck:
    recount, recorded = challenger["recount"], challenger["recorded"]
    zeros, prunable = recount["zeros"], recount["prunable"]
    shown = f"{zeros:,} of {prunable:,}"
    if recorded is None:
        detail = "the checkpoint has no autoprune.json that says what was asked"
        return GateCheck("sparsity", False, "-", shown, detail)
    if (zeros, prunable) != (recorded["zeros"], recorded["prunable"]):
        detail = (
            f"the written files hold {zeros:,} zeros of {prunable:,} and the record says "
            f"{recorded['zeros']:,} of {recorded['prunable']:,}"
        )
        return GateCheck("sparsity", False, "-", shown, detail)
    asked = budget_zeros(recorded["target"], prunable)
    # A kept weight may itself be zero, so there can be more zeros than pruned, never fewer.
    if recorded["pattern"] == UNSTRUCTURED and zeros < asked:
        return GateCheck("sparsity", False, "-", shown, f"{asked:,} zeros were asked")
    # A registered name rounds the share, and any folder can be registered under it.
    before = ((champion or {}).get("recorded") or {}).get("target")
    if before is not None and recorded["target"] < before - SAME_SHARE:
        detail = (
            f"fewer zeros were asked than of the champion, {recorded['target']:.4%} and "
            f"{before:.4%}; prune as much, or register it under another name"
        )
        return GateCheck("sparsity", False, f"{before:.4%}", shown, detail)
    return GateCheck("sparsity", True, "-", shown, f"counted again in the files; asked {asked:,}")


def _reload(challenger: Mapping[str, Any]) -> GateCheck:
    tried = challenger["reload"]
    return GateCheck(
        "reload", tried["ok"], "-", "opens" if tried["ok"] else "fails", tried["detail"]
    )


def _sealed(challenger: Mapping[str, Any]) -> tuple[GateCheck, ...]:
    """A line only if it fails: a model that no search made has no sealed figure to lack."""
    why = challenger.get("unsealed", "")
    if not why:
        return ()
    detail = f"its search has no sealed figure of it ({why}); search again under another run name"
    return (GateCheck("sealed", False, "-", "no figure", detail),)


def _text(challenger: Mapping[str, Any]) -> tuple[GateCheck, ...]:
    """A line that never fails: which sealed set judges, and how often it was looked at before."""
    known = challenger.get("sealed_set")
    if known is None:
        return ()
    found = SealedSet(**known)
    shown = f"set {found.number}"
    return (GateCheck("text", True, shown, shown, found.facts),)


def _size(
    champion: Mapping[str, Any] | None, challenger: Mapping[str, Any], larger_by: float
) -> GateCheck:
    mine = challenger["bytes"]
    shown = f"{mine / 1e6:.2f} MB"
    if champion is None:
        return GateCheck("size", True, "-", shown, "there is no champion to compare with")
    limit = champion["bytes"] * (1.0 + larger_by)
    before = f"{champion['bytes'] / 1e6:.2f} MB"
    detail = f"at most {100 * larger_by:g} % larger is allowed"
    return GateCheck("size", mine <= limit, before, shown, detail)


def _finite(nll: Sequence[float | None]) -> bool:
    # JSON has no infinity that every reader accepts; a window without a number is None there.
    return bool(nll) and all(value is not None and abs(value) < float("inf") for value in nll)
