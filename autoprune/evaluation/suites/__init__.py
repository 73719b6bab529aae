"""Evaluation suites: one registry, rows with protocol and provenance."""

from autoprune.evaluation.suites import reasoning as _reasoning
from autoprune.evaluation.suites.suite import SUITES, Suite, build_suite, build_suites

BUILT_IN = (_reasoning,)

__all__ = ["BUILT_IN", "SUITES", "Suite", "build_suite", "build_suites"]
