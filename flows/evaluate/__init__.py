"""One model measured by suites, alone or against another.

``flows.evaluate.evaluate``, the entry point of deployments, is imported on first use.
"""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.evaluate.flow import evaluate as evaluate

__getattr__ = lazily(__name__, {"evaluate": "flows.evaluate.flow"})
