"""The dense model's statistics, collected into the store.

``flows.calibrate.calibrate``, the entry point of deployments, is imported on first use.
"""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.calibrate.flow import calibrate as calibrate

__getattr__ = lazily(__name__, {"calibrate": "flows.calibrate.flow"})
