"""A driver with a cheap evaluator: real formulas on small random layers, no model."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch

from autoprune.design.chat import ChatRequest
from autoprune.design.formulas import expression_of
from autoprune.design.transports import Designer, ScriptedDesigner
from autoprune.digest import digest_bytes, digest_json
from autoprune.recipe import Recipe
from autoprune.search import DesignerSpec, Search, SearchBudget, SearchSpec, planning
from autoprune.search.randomness import stream
from autoprune.search.steps import (
    Done,
    Failed,
    Measure,
    Measurement,
    Outcome,
    Propose,
    Seal,
    Sealed,
    Step,
    Validate,
    Validation,
)

FORMULAS = (
    "abs(W) * x_norm ** {0.5}",
    "abs(W) * x_norm * x_max",
    "abs(W) * x_norm + abs(W) / row_mean(abs(W))",
    "sq(W) * x_var",
    "abs(W) * x_norm",
    "abs(W) / (col_norm(W) + 0.1) * x_norm",
    "rank(abs(W)) + x_norm",
    "abs(W) * sqrt(x_norm * x_max)",
    "W",
)
# What repairs gain, in nats per token, and take, in seconds.
REPAIRS = {"sparsegpt": (0.3, 4.0), "mrp": (0.5, 9.0)}


def make_spec(**changes: object) -> SearchSpec:
    values: dict[str, object] = {
        "model": "synthetic",
        "corpus": "none",
        "designer": DesignerSpec(kind="scripted"),
        "budget": SearchBudget(candidates=14),
        "rung_windows": 3,
        "selection_windows": 6,
        "sealed_windows": 4,
        "slots": 4,
        "seed": 3,
    }
    return SearchSpec(**{**values, **changes})  # type: ignore[arg-type]


def write_answer(request: ChatRequest) -> str:
    """A plausible answer, different for each request, wrong now and then."""
    rng = stream(int(request.digest[:8], 16), 0, 0, "answer")
    formula = rng.choice(FORMULAS)
    if rng.random() < 0.15:
        return rng.choice(["", "metric: abs(V)", "I do not know.", "metric: abs(W) *"])
    group, allocation = rng.choice(["row", "matrix"]), rng.choice(["uniform", "sdsa", "ramp"])
    verdict = rng.choice(["better", "worse"])
    part = request.grammar.partition("\n")[0] if request.grammar else ""
    lines = {
        "metric": formula,
        "group": group,
        "allocation": allocation,
        "repair": rng.choice(["none", "sparsegpt", "mrp"]),
    }
    # A grammar leaves out the lines of parts that are not asked for.
    shown = [f"{name}: {text}" for name, text in lines.items() if f"{name}: " in part or not part]
    return "\n".join(
        ["because: inputs differ in size", f"expect: {verdict} than wanda", *shown, ""]
    )


@dataclass
class Synthetic:
    """Answers every step; counts what it was asked.

    Args:
        designer: Who answers proposals.
        asked: Identifiers of the steps so far.
        wobble: Deviation of a recipe's loss from window to window, nats per token.
    """

    designer: Designer = field(default_factory=lambda: ScriptedDesigner(write_answer))
    asked: list[str] = field(default_factory=list)
    wobble: float = 0.005

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.weight = torch.randn(24, 48, generator=generator)
        self.inputs = torch.randn(200, 48, generator=generator)
        self.inputs *= torch.exp(torch.randn(48, generator=generator))
        self.stats = {
            "x_norm": self.inputs.square().mean(0).sqrt(),
            "x_mean": self.inputs.mean(0),
            "x_var": self.inputs.var(0, correction=0),
            "x_max": self.inputs.abs().amax(0),
        }

    def answer(self, step: Step) -> Outcome:
        assert not isinstance(step, Done)
        self.asked.append(step.step_id)
        match step:
            case Propose():
                return self.designer.complete(step.request)
            case Validate():
                return self.validate(step.recipe)
            case Measure():
                found = self.measure(step.recipe, step.windows, step.sparsity, "selection")
                if step.draw and isinstance(found, Measurement):
                    nll = tuple(value + 0.01 * step.draw for value in found.nll)
                    found = replace(found, nll=nll, perplexity=math.exp(sum(nll) / len(nll)))
                if step.kl and isinstance(found, Measurement):
                    found = replace(found, kl=tuple(value - 2.0 for value in found.nll))
                if step.known and isinstance(found, Measurement):
                    nll, tokens = found.nll[step.known :], 511 * (step.windows - step.known)
                    perplexity = math.exp(sum(nll) / len(nll))
                    found = replace(found, nll=nll, tokens=tokens, perplexity=perplexity)
                    found = replace(found, kl=found.kl[step.known :])
                return found
            case Seal():
                found = {
                    alias: self.measure(recipe, step.windows, step.share_of(alias), "sealed")
                    for alias, recipe in step.recipes
                }
                return Sealed(
                    {a: m for a, m in found.items() if isinstance(m, Measurement)}, seconds=2.0
                )

    def validate(self, recipe: Recipe) -> Validation:
        mask = self.mask(recipe, 0.5)
        if mask is None:
            return Validation(False, "nan_scores", "the scores are not finite")
        error = self.error(mask)
        return Validation(
            True,
            signature=digest_bytes(mask.numpy().tobytes()),
            reconstruction_error=error,
            errors={"down_proj of block 3": error},
            seconds=0.25,
        )

    def error(self, mask: torch.Tensor) -> float:
        """Relative error of the layer's output."""
        lost = self.inputs @ (self.weight * ~mask).T
        return float(lost.square().mean() / (self.inputs @ self.weight.T).square().mean())

    def mask(self, recipe: Recipe, sparsity: float) -> torch.Tensor | None:
        expression = expression_of(recipe.metric)
        if expression is None:
            scores = self.weight.abs()
        else:
            scores = expression.evaluate(self.weight, self.stats)
        if not bool(scores.isfinite().all()) or scores.unique().numel() < 4:
            return None
        if recipe.group == "matrix":
            scores = scores.reshape(1, -1)
        keep = scores.shape[1] - round(sparsity * scores.shape[1])
        order = scores.argsort(dim=1, descending=True, stable=True)[:, :keep]
        mask = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, order, True)
        return mask.reshape(self.weight.shape)

    def measure(
        self, recipe: Recipe | None, windows: int, sparsity: float, split: str
    ) -> Measurement | Failed:
        if recipe is None:
            noise = [stream(7, 0, w, split).gauss(0.0, 0.3) for w in range(windows)]
            nll = tuple(2.5 + value for value in noise)
            return Measurement(nll, 511 * windows, math.exp(sum(nll) / windows), seconds=0.5)
        mask = self.mask(recipe, sparsity)
        if mask is None:
            return Failed("nan_measurement")
        error = self.error(mask)
        bonus = {"uniform": 0.0, "ramp": 0.02}.get(recipe.allocation.partition(":")[0], 0.04)
        bonus += REPAIRS.get(recipe.repair.partition(":")[0], (0.0, 0.0))[0]
        noise = [stream(7, 0, w, split).gauss(0.0, 0.3) for w in range(windows)]
        wobble = [stream(7, 0, w, recipe.digest).gauss(0.0, self.wobble) for w in range(windows)]
        nll = tuple(3 + error - bonus + a + b for a, b in zip(noise, wobble, strict=True))
        digest = digest_json([mask.flatten().tolist(), recipe.allocation])
        perplexity = math.exp(sum(nll) / windows)
        seconds = 1.0 + REPAIRS.get(recipe.repair.partition(":")[0], (0.0, 0.0))[1]
        return Measurement(
            nll, 511 * windows, perplexity, {"l0": sparsity}, digest, sparsity, seconds
        )


def plan_without_entries(monkeypatch: pytest.MonkeyPatch, always: str | None = None) -> None:
    """Let every operator plan something, so that the bandit alone decides who does."""

    def make(self: object, slot: int, operator: str, rng: object) -> planning.Plan:
        return planning.Plan(slot, always or operator)

    monkeypatch.setattr(planning._Planner, "_make", make)


class OneSignature(Synthetic):
    """What is valid looks alike on the few layers that validation sees."""

    def answer(self, step: Step) -> Outcome:
        found = super().answer(step)
        if isinstance(step, Validate) and isinstance(found, Validation) and found.ok:
            return replace(found, signature="one for all")
        return found


def drive(
    search: Search, driver: Synthetic, stop: Callable[[int], bool] = lambda count: False
) -> Done | None:
    """Run until done, or until ``stop`` says so before an outcome is recorded."""
    count = 0
    while not isinstance(step := search.next_step(), Done):
        if stop(count):
            return None
        search.record(step, driver.answer(step))
        count += 1
    return step
