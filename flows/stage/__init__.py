"""One stage of a search.

``flows.stage.stage``, the entry point of deployments, is imported on first use.
"""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.stage.flow import stage as stage
    from flows.stage.staging import verdict as verdict

__getattr__ = lazily(__name__, {"stage": "flows.stage.flow", "verdict": "flows.stage.staging"})
