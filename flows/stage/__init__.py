"""One stage of a search; its flow, and what else takes seconds to import."""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.stage.flow import stage as stage
    from flows.stage.staging import verdict as verdict

__getattr__ = lazily(__name__, {"stage": "flows.stage.flow", "verdict": "flows.stage.staging"})
