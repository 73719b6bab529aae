"""Runs of one machine take turns: a slot of a Prefect concurrency limit around the heavy part.

`autoprune up` makes the limits; on a server without them nobody waits. A slot is a lease of
five minutes that is renewed, so one that a killed process held comes back by itself.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prefect.context import FlowRunContext

# The name under which the worker's log shows progress.
log = logging.getLogger("autoprune.run")


def machine() -> str:
    """The limit of this machine's scarce part: ``gpu`` where there is an accelerator."""
    import torch

    return "cpu" if torch.accelerator.current_accelerator(check_available=True) is None else "gpu"


@contextmanager
def turn(limit: str | None = None) -> Iterator[None]:
    """Hold a slot of ``limit`` (default: the machine's) while the body runs.

    Outside a recorded flow run, and where the limit does not exist, nothing is waited for.
    """
    name = limit or (machine() if FlowRunContext.get() is not None else "")
    if not name or FlowRunContext.get() is None or not _exists(name):
        yield
        return
    from prefect.concurrency.sync import concurrency

    with ExitStack() as stack:
        stack.enter_context(concurrency(name, strict=True, raise_on_lease_renewal_failure=False))
        try:
            yield
        finally:
            slot = stack.pop_all()
            try:
                slot.close()
            except Exception as error:
                # The work is done; a server that is down must not make it fail.
                log.warning("slot of %r not given back (%s); its lease ends by itself", name, error)


def _exists(name: str) -> bool:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    try:
        with get_client(sync_client=True) as client:
            found = client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        return False
    if found.active and found.active_slots >= found.limit:
        log.info("waiting: another run holds the slot of %r; `autoprune doctor` shows it", name)
    return bool(found.active)
