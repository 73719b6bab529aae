"""Checks that an outcome answers its step before it is recorded."""

from dataclasses import replace

from autoprune.design.chat import Reply
from autoprune.errors import UsageError
from autoprune.search.steps import (
    Failed,
    Measure,
    Measurement,
    Outcome,
    Propose,
    Seal,
    Sealed,
    Validate,
    Validation,
    WorkStep,
    is_finite,
)

ALLOWED: dict[type[WorkStep], type[Outcome]] = {
    Propose: Reply,
    Validate: Validation,
    Measure: Measurement,
    Seal: Sealed,
}


def checked(step: WorkStep, outcome: Outcome) -> Outcome:
    """Return the outcome as it is recorded: measurements that are not finite have failed."""
    if isinstance(outcome, Failed):
        return outcome
    if not isinstance(outcome, ALLOWED[type(step)]):
        raise UsageError(
            f"step {step.step_id} asks for {ALLOWED[type(step)].__name__}, "
            f"not {type(outcome).__name__}"
        )
    if isinstance(outcome, Measurement) and isinstance(step, Measure):
        if not is_finite(outcome):
            return Failed("nan_measurement", "a figure is not finite", outcome.seconds)
        if len(outcome.nll) != step.windows - step.known:
            raise UsageError(
                f"step {step.step_id} asks for {step.windows - step.known} windows, "
                f"not {len(outcome.nll)}"
            )
    if isinstance(outcome, Sealed):
        finite = {a: m for a, m in outcome.measurements.items() if is_finite(m)}
        broken = outcome.measurements.keys() - finite.keys()
        failed = Failed("nan_measurement", "a figure is not finite")
        return replace(
            outcome,
            measurements=finite,
            failures={**outcome.failures, **dict.fromkeys(sorted(broken), failed)},
        )
    if isinstance(outcome, Reply):
        # A lone surrogate can be neither digested nor put into a prompt.
        return replace(outcome, text=outcome.text.encode("utf-8", "replace").decode())
    return outcome
