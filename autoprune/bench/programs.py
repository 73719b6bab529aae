"""Programs as what prunes a model: code shared by all entry points."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch

from autoprune.bench.block_programs import ProgramBlocks
from autoprune.candidate import Candidate, CandidateRejectedError
from autoprune.errors import InfiniteActivationError, UsageError
from autoprune.metrics import candidate_metric
from autoprune.models.structure import PrunableLinear
from autoprune.program_files import prunes_blocks
from autoprune.programs import ProgramRunner, ProgramWeights, weights_digest
from autoprune.pruning import MetricScore, NewBlocks, NewWeights, PruneOutcome, PruningPlan, Score


def check_plan(plan: PruningPlan, program: Candidate) -> None:
    """Refuse a plan that a program cannot follow."""
    if plan.pattern is None and plan.group not in ("row", "matrix"):
        raise UsageError(
            f"a program has a budget for each matrix, and in the comparison group "
            f"{plan.group!r} weights of several compete; take row or matrix"
        )
    if plan.scoring == "true-sequential" and prunes_blocks(program.source):
        raise UsageError(
            "a block program prunes all matrices of a block at once, and true-sequential goes step "
            "by step; take sequential statistics"
        )
    if plan.repair.layer:
        raise UsageError(
            f"a program moves the weights that stay by itself, and the repair {plan.repair.text!r} "
            "would begin from the dense ones; leave it out, or take ebft, which goes on from there"
        )
    if plan.scoring == "dense":
        raise UsageError(
            "a program gets the inputs that its layer really has, block after block; take "
            "sequential or true-sequential statistics"
        )


@dataclass(frozen=True)
class ByProgram:
    """Has a program prune a model, block by block: an :class:`autoprune.pruning.Maker`.

    Args:
        program: A candidate of kind ``program``.
        runner: Runs it; None is refused, since designed code never runs in our own process.
        quick: The products of blocks that it computes may be in bfloat16, where the processor is
            fast with them; for a first figure.
    """

    program: Candidate
    runner: ProgramRunner | None
    quick: bool = False
    needs: frozenset[str] = frozenset()

    def check(self, plan: PruningPlan) -> None:
        """See :func:`check_plan`."""
        if self.runner is None:
            raise UsageError(
                "a program runs only in the sandbox, and none was handed in; take `autoprune prune "
                "--program`, or pass a runner such as tasks.programs.SandboxPrograms"
            )
        check_plan(plan, self.program)

    def maker(
        self, quotas: Mapping[str, int], plan: PruningPlan, blocks: int
    ) -> ProgramWeights | ProgramBlocks:
        """The program as the provider of new weights for layers or blocks; see :meth:`making`."""
        self.check(plan)
        assert self.runner is not None
        group = cast(Literal["row", "matrix"], plan.group)
        given = self.runner, self.program, quotas, group, plan.pattern, plan.saved, blocks
        if prunes_blocks(self.program.source):
            return ProgramBlocks(*given, quick=self.quick)
        return ProgramWeights(*given)

    @contextmanager
    def making(
        self, quotas: Mapping[str, int], plan: PruningPlan, blocks: int
    ) -> Iterator[ProgramWeights | ProgramBlocks]:
        """Provide the program's weights, and let go afterwards of what it ran in."""
        make = self.maker(quotas, plan, blocks)
        try:
            with rejecting_overflow(make):
                yield make
        finally:
            make.runner.done()

    @torch.no_grad()
    def outcome(
        self, found: PruneOutcome, make: NewWeights | NewBlocks, layers: Sequence[PrunableLinear]
    ) -> PruneOutcome:
        """Add the digest of the new weights, and the errors of a block program."""
        errors = tuple(make.errors) if isinstance(make, ProgramBlocks) else ()
        return replace(found, weights_digest=weights_digest(layers), block_errors=errors)


@contextmanager
def rejecting_overflow(make: NewWeights | NewBlocks, pruned: int = 0) -> Iterator[None]:
    """Reject a program whose new weights make an activation infinite."""
    try:
        yield
    except InfiniteActivationError as error:
        if not isinstance(make, ProgramWeights | ProgramBlocks) or not (make.last or pruned):
            raise
        upto = make.last or f"block {pruned - 1}"
        raise CandidateRejectedError(
            "nan_weights",
            f"the new weights up to {upto} are finite, but so large that a later layer "
            "has an input that is infinite or not a number; keep them near the size of W",
        ) from error


def by_candidate(metric: Candidate, runner: ProgramRunner | None = None) -> Score | ByProgram:
    """What prunes by a candidate without a sandbox for metrics."""
    if metric.kind == "program":
        return ByProgram(metric, runner)
    return MetricScore(candidate_metric(metric))
