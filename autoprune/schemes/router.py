"""Dynamic depth: small routers skip attention or MLP of a block for tokens that need them least.

No stock configuration can express this, so it is measured and not saved.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from autoprune.allocation import project
from autoprune.errors import UnsupportedModelError
from autoprune.models.capture import BlockStream
from autoprune.models.structure import find_blocks
from autoprune.precision import in_float64
from autoprune.progress import Progress, Report, silent
from autoprune.schemes.importance import received_by, standing_in
from autoprune.schemes.plan import Gate, SchemePlan, Step
from autoprune.schemes.scheme import SCHEMES, Scheme
from autoprune.schemes.skip import Skipped, count_skipped
from autoprune.schemes.surgery import block_parameters

# Names of the two parts in a block, by family.
_NAMES = (("self_attn", "self_attention", "attention", "attn"), ("mlp", "feed_forward"))
# Weight of the distance to the target share, as in SkipGPT.
_PULL = 20.0
# Windows on which each part is left out once, and how steeply what that costs decides at first.
_TRIED = 2
_STEEP = 20.0
# Which tokens of [b, s] run attention and MLP: 1 or 0; None: all, unchanged.
Decide = Callable[[Tensor], "tuple[Tensor, Tensor] | None"]


@SCHEMES.register("router")
@dataclass(frozen=True)
class Router(Scheme):
    """Skip attention or MLP of a block, token by token: measured by compare, never saved.

    A linear router for each part reads the block's input. It starts from what the model's
    predictions lose without the part, the same for all tokens, and learns from these predictions
    to tell tokens apart. The model stays as it is. The share is of the computations of attentions
    and MLPs, all counted alike; a threshold for each part then skips it on the calibration tokens.

    Args:
        steps: Steps of training, one window each; 0: every token skips the same whole parts, a
            control.
        rate: Learning rate.
    """

    NAME: ClassVar[str] = "router"
    SOURCE: ClassVar[str] = "after SkipGPT, arXiv 2506.04179, with linear routers and thresholds"
    # 1: routers start from what each part's absence costs; those without steps skip whole parts.
    # 2: rates count every token alike, also where the last batch is shorter.
    VERSION: ClassVar[int] = 2

    steps: int = 60
    rate: float = 0.02

    def __post_init__(self) -> None:
        self._require("steps", self.steps >= 0, "at least 0")
        self._require("rate", 0.0 < self.rate <= 1.0, "above 0 and at most 1")

    @property
    def stochastic(self) -> bool:
        """Windows and gates of the training are drawn."""
        return self.steps > 0

    def plan(
        self,
        model: PreTrainedModel,
        windows: Tensor | None,
        target: float,
        *,
        seed: int = 0,
        report: Report = silent,
    ) -> SchemePlan:
        """Train the routers, then find their thresholds from block to block.

        Raises:
            UnsupportedModelError: If a block is more than the sum of its input, attention and MLP.
        """
        steps: tuple[Step, ...] = ()
        facts: dict[str, Any] = {}
        notes: tuple[str, ...] = ()
        if target:
            assert windows is not None
            _require_sums(model, windows)
            weights = self._trained(model, windows, 1.0 - target, seed, report)
            gates, runs = _calibrated(model, windows, weights, 1.0 - target, report)
            steps = (Step(gates=tuple(gates)),)
            facts = {"router": {"runs": runs}}
            notes = (
                "attention and MLP are skipped while the model runs; its size stays, and "
                "transformers computes them all the same, so that no time is saved here",
            )
        before = sum(block_parameters(model))
        return SchemePlan(self.text, target, steps, before, before, facts, notes)

    def _trained(
        self, model: PreTrainedModel, windows: Tensor, share: float, seed: int, report: Report
    ) -> Tensor:
        """Router weights with a bias at the end, float32 [blocks, 2, hidden + 1]."""
        blocks, draw = find_blocks(model), torch.Generator().manual_seed(seed)
        width = model.get_input_embeddings().weight.shape[1]
        weights = torch.zeros(len(blocks), 2, width + 1)
        weights[..., -1] = first_scores(
            losses_without_parts(model, windows[:_TRIED], report), share
        )
        weights = weights.to(model.device).requires_grad_()
        optimizer = torch.optim.Adam([weights], lr=self.rate)
        ran: list[Tensor] = []

        def deciding(number: int) -> Decide:
            def decide(hidden: Tensor) -> tuple[Tensor, Tensor] | None:
                if not torch.is_grad_enabled():
                    return None
                scores = torch.stack([score(hidden, one) for one in weights[number]])
                # Logistic noise: each gate is a fair draw with the router's probability.
                noise = torch.rand(scores.shape, generator=draw).clamp(1e-6, 1 - 1e-6).logit()
                soft = (scores + noise.to(scores.device)).sigmoid()
                # Straight through: hard forwards, soft backwards.
                gates = (soft > 0.5).float() + soft - soft.detach()
                ran.append(gates.mean())
                return gates[0], gates[1]

            return decide

        with _gated(blocks, [deciding(number) for number in range(len(blocks))]):
            for step in range(self.steps):
                at = int(torch.randint(len(windows), (1,), generator=draw))
                ids = windows[at : at + 1].to(model.device)
                with torch.no_grad():
                    dense = _predicted(model, ids)
                ran.clear()
                with torch.enable_grad():
                    loss = _distance(_predicted(model, ids), dense)
                    loss = loss + _PULL * (torch.stack(ran).mean() - share).abs()
                    # The model's own weights get no gradient.
                    weights.grad = torch.autograd.grad(loss, weights)[0]
                optimizer.step()
                report(Progress("router", step + 1, self.steps, f"loss {float(loss.detach()):.3f}"))
        return weights.detach()

    @contextmanager
    def masked(self, model: PreTrainedModel, plan: SchemePlan) -> Iterator[None]:
        """Skip inside the context."""
        with _gated(find_blocks(model), _fixed(model, plan, Skipped("block part"))):
            yield

    def apply(self, model: PreTrainedModel, plan: SchemePlan) -> None:
        """Skip from now on; :func:`autoprune.schemes.skip.skipped_computations` counts."""
        decisions = _fixed(model, plan, count_skipped(model, "block part"))
        for block, decide in zip(find_blocks(model), decisions, strict=bool(decisions)):
            _attach(block, decide)


def score(hidden: Tensor, weights: Tensor) -> Tensor:
    """A router's score of each token, which depends on its own hidden state alone.

    Args:
        hidden: Inputs of the block, [b, s, d].
        weights: Weights and bias, float32 [d + 1].

    Returns:
        float32 [b, s].
    """
    x = hidden.float()
    # Of mean square 1, so that blocks with large states learn as fast as others.
    x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
    return (x * weights[:-1]).sum(-1) / math.sqrt(len(weights) - 1) + weights[-1]


def first_scores(losses: Tensor, share: float) -> Tensor:
    """Scores by rank: parts whose loss is below that of this share of all parts are skipped.

    Args:
        losses: What each part's absence costs, [blocks, 2].
        share: Share of the parts to run, 0 to 1.
    """
    ranks = losses.flatten().argsort().argsort().reshape(losses.shape)
    return _STEEP * ((ranks + 0.5) / losses.numel() - (1.0 - share))


@torch.no_grad()
def losses_without_parts(
    model: PreTrainedModel, windows: Tensor, report: Report = silent
) -> Tensor:
    """KL of the model without each part to the whole one, nats per token, [blocks, 2].

    What a block receives does not depend on its parts, so the blocks before it run only once.

    Args:
        model: In eval mode.
        windows: Token ids, int64 [n, s].
        report: Callback, called after each block.
    """
    blocks, ids = find_blocks(model), windows.to(model.device)
    received = received_by(model, blocks, ids)
    dense = _predicted(model, ids)
    found = torch.zeros(len(blocks), 2)
    for number, block in enumerate(blocks):
        for index in range(2):
            start = standing_in(blocks[:number], received, number)
            with start, _gated([block], [_without(index)]):
                found[number, index] = _distance(_predicted(model, ids), dense)
        report(Progress("parts", number + 1, len(blocks)))
    return found


def _predicted(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Log-probabilities of the next token, float32 [b, s, vocabulary]."""
    found: Tensor = model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)
    return found


def _distance(found: Tensor, dense: Tensor) -> Tensor:
    """Mean KL(dense || found) of log-probabilities, nats per token."""
    lost = nn.functional.kl_div(found, dense, log_target=True, reduction="none")
    return lost.sum(-1).mean()


def _without(index: int) -> Decide:
    def decide(hidden: Tensor) -> tuple[Tensor, Tensor]:
        runs = [torch.ones_like(hidden[..., 0]) for _ in range(2)]
        runs[index] = torch.zeros_like(runs[index])
        return runs[0], runs[1]

    return decide


@torch.no_grad()
def _calibrated(
    model: PreTrainedModel, windows: Tensor, weights: Tensor, share: float, report: Report
) -> tuple[list[tuple[Gate, Gate]], list[list[float]]]:
    """Gates by block, and the share of calibration tokens that each runs.

    The routers' own rates are shifted alike until their mean is the share. What equal tokens cost
    in one part, such as repeated words in the first block, the next parts make up for. Routers
    that tell no tokens apart run whole parts.
    """
    if not weights[..., :-1].any():
        return whole_parts(weights, share)
    count = windows.numel()
    rates = _rates(model, windows, weights)
    wanted = shifted(rates.flatten(), share).reshape(rates.shape) * count
    gates: list[tuple[Gate, Gate]] = []
    runs: list[list[float]] = []
    stream, due, ran = BlockStream(model, windows), 0.0, 0
    with ExitStack() as stack:
        for number, block in enumerate(find_blocks(model)):
            pair: list[Gate] = []
            shares: list[float] = []
            for one, own in zip(weights[number], wanted[number], strict=True):
                scores = torch.cat([score(hidden, one).flatten() for hidden in stream.hidden])
                due += float(own)
                pair.append(Gate(one, cut(scores, round(due) - ran)))
                here = int((in_float64(scores) >= pair[-1].threshold).sum())
                ran += here
                shares.append(here / count)
            runs.append(shares)
            gates.append((pair[0], pair[1]))
            stack.enter_context(_gated([block], [_gate(gates[-1], block, Skipped())]))
            stream.advance()
            report(Progress("thresholds", number + 1, len(weights)))
    return gates, runs


def whole_parts(weights: Tensor, share: float) -> tuple[list[tuple[Gate, Gate]], list[list[float]]]:
    """Gates that run the parts of the highest scores for every token and skip all others.

    Args:
        weights: Router weights that are zero but for the bias, [blocks, 2, hidden + 1].
        share: Share of the parts to run, 0 to 1, rounded to whole ones.
    """
    scores = weights[..., -1]
    best = scores.flatten().argsort(descending=True)[: round(share * scores.numel())]
    flat = torch.zeros(scores.numel()).index_fill_(0, best.cpu(), 1.0)
    runs: list[list[float]] = flat.reshape(scores.shape).tolist()
    at = {1.0: -math.inf, 0.0: math.inf}
    pairs = zip(weights, runs, strict=True)
    return [(Gate(w[0], at[r[0]]), Gate(w[1], at[r[1]])) for w, r in pairs], runs


def cut(scores: Tensor, count: int) -> float:
    """The threshold that this many scores reach, more where some are equal; amid a gap.

    Args:
        scores: Of all tokens, [t].
        count: Below 1: none; at least t: all.
    """
    if count < 1:
        return math.inf
    if count >= len(scores):
        return -math.inf
    ordered = in_float64(scores).sort(descending=True).values
    return float((ordered[count - 1] + ordered[count]) / 2)


def shifted(rates: Tensor, mean: float) -> Tensor:
    """Rates moved by one number and clipped to 0 and 1, float64, so that this is their mean."""
    raw = {str(number): value for number, value in enumerate(rates.tolist())}
    found = project(raw, dict.fromkeys(raw, 1), mean, upper=1.0)
    return torch.tensor(list(found.values()), dtype=torch.float64)


def _rates(model: PreTrainedModel, windows: Tensor, weights: Tensor) -> Tensor:
    """Mean probability with which each router runs its part, on the dense model, [blocks, 2]."""
    stream, found = BlockStream(model, windows), []
    for own in weights:
        # By token: the last batch may be shorter.
        seen = [torch.stack([score(h, one).sigmoid() for one in own]) for h in stream.hidden]
        found.append(torch.cat([one.flatten(1) for one in seen], dim=1).mean(1))
        stream.advance()
    return torch.stack(found).cpu()


def _fixed(model: PreTrainedModel, plan: SchemePlan, counts: Skipped) -> list[Decide]:
    return [
        _gate(pair, block, counts)
        for step in plan.steps
        for pair, block in zip(step.gates, find_blocks(model), strict=True)
    ]


def _gate(pair: tuple[Gate, Gate], block: nn.Module, counts: Skipped) -> Decide:
    parts = map(block.get_submodule, _part_names(block))
    sizes = [sum(p.numel() for p in part.parameters()) for part in parts]

    def decide(hidden: Tensor) -> tuple[Tensor, Tensor]:
        scores = [score(hidden, one.weights.to(hidden.device)) for one in pair]
        runs = [in_float64(s) >= one.threshold for s, one in zip(scores, pair, strict=True)]
        for part, size in zip(runs, sizes, strict=True):
            counts.add(part.numel(), int((~part).sum()), size)
        return runs[0], runs[1]

    return decide


@contextmanager
def _gated(blocks: Iterable[nn.Module], decisions: Sequence[Decide]) -> Iterator[None]:
    with ExitStack() as stack:
        for block, decide in zip(blocks, decisions, strict=bool(decisions)):
            for handle in _attach(block, decide):
                stack.callback(handle.remove)
        yield


def _attach(block: nn.Module, decide: Decide) -> list[RemovableHandle]:
    now: list[tuple[Tensor, Tensor] | None] = [None]

    def before(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        now[0] = decide(given[0] if given else named["hidden_states"])

    def after(index: int) -> Any:
        def gate(_: nn.Module, __: Any, output: Any) -> Any:
            if now[0] is None:
                return output
            first = output[0] if isinstance(output, tuple) else output
            runs = now[0][index].reshape(*first.shape[:-1], 1).to(first)
            return (first * runs, *output[1:]) if isinstance(output, tuple) else first * runs

        return gate

    names = _part_names(block)
    hooks = [block.register_forward_pre_hook(before, with_kwargs=True)]
    for index, name in enumerate(names):
        hooks.append(block.get_submodule(name).register_forward_hook(after(index)))
    return hooks


def _part_names(block: nn.Module) -> list[str]:
    """Names of a block's attention and MLP."""
    found = [next((name for name in names if hasattr(block, name)), "") for names in _NAMES]
    if not all(found):
        raise _unsuited(block)
    return found


@torch.no_grad()
def _require_sums(model: PreTrainedModel, windows: Tensor) -> None:
    """Check that a block without attention and MLP gives its input."""
    stream = BlockStream(model, windows[:1])
    for block in find_blocks(model):
        with _gated([block], [lambda hidden: (torch.zeros_like(hidden[..., 0]),) * 2]):
            if not torch.equal(stream.output(0), stream.hidden[0]):
                raise _unsuited(block)
        stream.advance()


def _unsuited(block: nn.Module) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{type(block).__name__} is more than the sum of its input, an attention and an MLP, so "
        "that no router can skip these; take another scheme"
    )
