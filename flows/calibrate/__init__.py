"""A dense model's statistics; the flow takes seconds to import."""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.calibrate.flow import calibrate as calibrate

__getattr__ = lazily(__name__, {"calibrate": "flows.calibrate.flow"})
