"""A search for the best way to prune a model.

``flows.search.search``, the entry point of deployments, is imported on first use.
"""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.search.docker import require_docker as require_docker
    from flows.search.flow import search as search

_PLACES = {
    "require_docker": "flows.search.docker",
    "search": "flows.search.flow",
}

__getattr__ = lazily(__name__, _PLACES)
