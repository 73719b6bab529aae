"""Recipes whose metric is a scheme: validated by shapes, measured on a smaller copy."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoprune.bench.scheme_budget import SchemeBudget
from autoprune.bench.smaller import Shrinking, shrunken
from autoprune.budget import Budget
from autoprune.digest import digest_json
from autoprune.errors import (
    InfiniteActivationError,
    InfiniteGradientError,
    UnsupportedModelError,
    UsageError,
)
from autoprune.models.saved_type import checkpoint_type
from autoprune.pruning import PruneOutcome
from autoprune.recipe import Recipe
from autoprune.repair import Repair
from autoprune.schemes import Scheme, Shrunk, build_scheme, parts_of

if TYPE_CHECKING:
    from autoprune.bench.bench import Bench

# Parameters that decide how the remaining weights change; all others choose what is removed.
MOVES = ("fit", "patch")


@dataclass(frozen=True, kw_only=True)
class SmallerOutcome(PruneOutcome):
    """The result of a scheme, with the field names of a pruning outcome.

    ``zeros`` counts the removed parameters of the blocks, ``prunable`` all of them. The digest
    covers which blocks and units remain, so it is the same on every machine.

    Args:
        shrunk: What was removed.
        scheme: The scheme's line, repair included.
    """

    shrunk: Shrunk
    scheme: str

    @property
    def record(self) -> dict[str, Any]:
        """What the record of a saved model says of it."""
        return self.shrunk.to_json() | {"scheme": self.scheme}


def shrinking_of(recipe: Recipe) -> Shrinking:
    """The shrinking that a recipe describes."""
    scheme = build_scheme(recipe.metric.source)
    return Shrinking(scheme, Repair.parse(recipe.repair))


def check_shapes(bench: "Bench", recipe: Recipe, budget: Budget) -> dict[str, Any]:
    """Check that a scheme supports the model, without planning the actual removal."""
    model, scheme = bench.loaded.model, shrinking_of(recipe).scheme
    shapes = scheme.shapes_only()
    # Errors should name the requested scheme, not its stand-in.
    names = zip(parts_of(shapes), parts_of(scheme), strict=True)
    # Drawn first: a text or a store that fails is not the scheme's fault.
    windows = bench.drawn_windows() if shapes.reads_text else None
    with _as_usage({quick.text: asked.text for quick, asked in names}):
        asked = SchemeBudget(budget, checkpoint_type(bench.loaded.source))
        share, found = asked.of_parameters(model, scheme, windows, report=bench.report)
        plan = shapes.plan(model, windows, shapes.own_share(model, share))
    if plan.after == plan.before:
        what = f"a share of {share:g}" if budget.unit == "sparsity" else str(budget)
        raise UsageError(f"{what} is too small for {scheme.text!r}; take a larger one")
    return {} if budget.unit == "sparsity" else {"share": share, **found}


@contextmanager
def smaller_by(
    bench: "Bench", recipe: Recipe, budget: Budget, draw: int
) -> Iterator[SmallerOutcome]:
    """Shrink the bench's model by a recipe's scheme for the body of a ``with`` statement."""
    how = shrinking_of(recipe)
    # An earlier recipe may have left its weights behind.
    bench.dense.restore()
    # As in check_shapes; the bench keeps them.
    if how.reads_text:
        bench.drawn_windows(draw)
    bench.fresh_windows(how.fresh_windows, draw)
    with ExitStack() as stack:
        with _as_usage():
            target: float | SchemeBudget
            if budget.unit == "sparsity":
                target = how.scheme.own_share(bench.loaded.model, budget.share)
            else:
                target = SchemeBudget(budget, checkpoint_type(bench.loaded.source))
            made = shrunken(bench, how, target, draw, seed=bench.seed)
            shrunk = stack.enter_context(made)
        plan = shrunk.plan
        yield SmallerOutcome(
            keep={},
            layer_sparsity={},
            zeros=plan.before - plan.after,
            prunable=plan.before,
            mask_digest=_digest(how.scheme, shrunk),
            seconds=shrunk.seconds,
            notes=shrunk.notes,
            shrunk=shrunk,
            scheme=how.text,
        )


def _digest(scheme: Scheme, shrunk: Shrunk) -> str:
    moves = [
        {key: value for key, value in part.params.items() if key in MOVES}
        if type(part).__module__.startswith("autoprune.")
        else part.text
        for part in parts_of(scheme)
    ]
    return digest_json([shrunk.plan.units, moves])


@contextmanager
def _as_usage(names: Mapping[str, str] = {}) -> Iterator[None]:
    """Turn what a scheme cannot do with this model into a usage error of the recipe.

    Everything else, such as a full disk or the end of the time, is no verdict on the recipe.
    """
    try:
        yield
    except (
        UnsupportedModelError,
        InfiniteActivationError,
        InfiniteGradientError,
        UsageError,
    ) as error:
        text = str(error)
        for other, own in names.items():
            text = text.replace(other, own)
        raise UsageError(text) from error
