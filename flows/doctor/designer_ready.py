"""Check whether a designer answers and what it enforces; needs the extra ``search``."""

import importlib.util
from importlib.metadata import version

from autoprune.design import local
from autoprune.design.canary import probe_server
from autoprune.design.transports import OpenAIDesigner
from autoprune.errors import AutopruneError
from tasks.canaries import recall, recall_others
from tasks.state import State


def endpoint() -> str:
    """Describe what the endpoint named in the environment enforces."""
    return str(probe_server(OpenAIDesigner(attempts=1, timeout=20.0)))


def local_designer(state: State, ask: bool) -> str:
    """Return the verdict of the last start; a new start takes half a minute and 1.5 GB."""
    parts = local.find_parts()
    if importlib.util.find_spec("xllamacpp") is None:
        raise AutopruneError("xllamacpp is not installed; run `make install`")
    model = state.root / "models" / local.MODEL_FILE
    seen = recall(state, model)
    if seen is None and ask:
        # Imports Prefect, which may not be installed, and torch.
        from autoprune.search.spec import DesignerSpec
        from tasks.design import DesignerSession

        session = DesignerSession(DesignerSpec(kind="local"), state)
        try:
            session.designer()
            seen = session.seen[0]
        finally:
            session.close()
    served = f"served by xllamacpp {version('xllamacpp')}"
    if seen is None:
        asking = "not asked yet what it enforces (`autoprune doctor --ask` does)"
        return f"{local.MODEL_NAME}, {len(parts)} parts, {served}, {asking}"
    return "; ".join([f"{seen}, {served}", *map(str, recall_others(state, model))])
