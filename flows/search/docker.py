"""Whether a search has the Docker Engine that its designs run in."""

from flows.search.beginning import has_begun
from flows.search.params import SearchParams
from sandbox.engine import ContainerEngine
from sandbox.errors import SandboxUnavailableError


def require_docker(params: SearchParams) -> None:
    """Refuse a new search that needs Docker where there is none, before a run is on record."""
    if params.designs_in != "docker":
        return
    try:
        ContainerEngine().close()
    except SandboxUnavailableError:
        # A search that has begun may be finished, and then needs none.
        if not has_begun(params):
            raise
