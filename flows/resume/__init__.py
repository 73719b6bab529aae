"""A search that was interrupted, continued.

``flows.resume.resume``, the entry point of deployments, is imported on first use.
"""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.resume.flow import resume as resume

__getattr__ = lazily(__name__, {"resume": "flows.resume.flow"})
