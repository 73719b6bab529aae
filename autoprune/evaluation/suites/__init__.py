"""Evaluation suites: one registry, rows with protocol and provenance."""

from autoprune.evaluation.suites import (
    cost,
    degenerate,
    lastword,
    live,
    lm,
    reasoning,
    steps,
    tasks,
)
from autoprune.evaluation.suites.suite import (
    SUITES,
    Suite,
    build_suite,
    build_suites,
    check_suite,
    computed_with,
    given_settings,
    suite_requests,
)

# Importing a module registers its suite.
BUILT_IN = (cost, degenerate, lastword, live, lm, reasoning, steps, tasks)

__all__ = [
    "BUILT_IN",
    "SUITES",
    "Suite",
    "build_suite",
    "build_suites",
    "check_suite",
    "computed_with",
    "given_settings",
    "suite_requests",
]
