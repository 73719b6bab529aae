"""A model measured by suites; the flow takes seconds to import."""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.evaluate.flow import evaluate as evaluate

__getattr__ = lazily(__name__, {"evaluate": "flows.evaluate.flow"})
