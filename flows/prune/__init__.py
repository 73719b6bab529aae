"""One model pruned once.

``flows.prune.prune``, the entry point of deployments, is imported on first use.
"""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.prune.flow import prune as prune
    from flows.prune.text import pruning_text as pruning_text

__getattr__ = lazily(__name__, {"prune": "flows.prune.flow", "pruning_text": "flows.prune.text"})
