"""The search of every night, and what follows it.

``flows.nightly.nightly``, the entry point of deployments, is imported on first use.
"""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.nightly.flow import nightly as nightly

__getattr__ = lazily(__name__, {"nightly": "flows.nightly.flow"})
