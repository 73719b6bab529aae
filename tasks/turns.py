"""Runs of one machine take turns: a slot of a Prefect concurrency limit around the heavy part.

`autoprune up` makes the limits; on a server without them, or one that is down, nobody waits. A
slot is a lease of a minute that is renewed. Its number is also kept in the state folder together
with the process that holds it, so that a slot of a killed process is given back by the next one
that wants it.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
import psutil
from prefect.context import FlowRunContext

from autoprune.storage import write_json
from tasks.run_files import read_object
from tasks.state import State

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

# The name under which the worker's log shows progress.
log = logging.getLogger("autoprune.run")

LEASE_SECONDS = 60.0
RENEW_SECONDS = 20.0
POLL_SECONDS = 2.0
# A server that ended by itself is started again by `autoprune up` within this time.
OUTAGE_SECONDS = 30.0
LOCKED = 423


def machine() -> str:
    """The limit of this machine's scarce part: ``gpu`` where there is an accelerator."""
    import torch

    return "cpu" if torch.accelerator.current_accelerator(check_available=True) is None else "gpu"


@contextmanager
def turn(state: State, limit: str | None = None) -> Iterator[None]:
    """Hold a slot of ``limit`` (default: the machine's) while the body runs.

    Outside a recorded flow run, and where the limit does not exist, nothing is waited for. Nor in
    a worker of Dask or Ray: it works for a run that holds the slot already and waits for it.
    """
    run = FlowRunContext.get()
    if run is None or run.detached:
        yield
        return
    lease = _acquire(state, limit or machine())
    if lease is None:
        yield
        return
    ended = threading.Event()
    keeper = threading.Thread(target=_renew, args=(lease, ended), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        try:
            _release(state, lease)
        except Exception as error:
            # The work is done; a server that is down must not make it fail.
            log.warning("a slot was not given back (%s); its lease ends by itself", error)


def release_dead(state: State, client: "SyncPrefectClient") -> int:
    """Give back the slots that processes of this machine held when they were killed."""
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

    released = 0
    for file in _folder(state).glob("*.json"):
        record = read_object(file)
        if record["host"] != socket.gethostname() or _alive(record["pid"], record["created"]):
            continue
        try:
            client.release_concurrency_slots_with_lease(UUID(file.stem))
            released += 1
        except (ObjectNotFound, PrefectHTTPStatusError):
            log.info("lease %s had ended before", file.stem)
        file.unlink(missing_ok=True)
    return released


def _acquire(state: State, name: str) -> UUID | None:
    """The lease of a slot; None where there is no such limit or no server that answers."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    # Until a server has answered, one that gives no answer is not waited for.
    patience, silent_since, told = 0.0, time.monotonic(), False
    while True:
        try:
            with get_client(sync_client=True) as client:
                if patience == 0.0 and not _limited(client, name):
                    return None
                lease = _take(state, client, name)
                patience, silent_since = OUTAGE_SECONDS, time.monotonic()
                if lease is not None:
                    return lease
                freed = release_dead(state, client)
        except ObjectNotFound:
            return None
        except httpx.HTTPError as error:
            if time.monotonic() - silent_since >= patience:
                log.warning("no slot of the limit %r (%s); the run goes on without", name, error)
                return None
            freed = 0
        if freed == 0:
            if not told and patience > 0.0:
                log.info("waiting: another run holds the slot of the limit %r", name)
                told = True
            time.sleep(POLL_SECONDS)


def _limited(client: "SyncPrefectClient", name: str) -> bool:
    return bool(client.read_global_concurrency_limit_by_name(name).active)


def _take(state: State, client: "SyncPrefectClient", name: str) -> UUID | None:
    """A slot and the note of who has it; None while others hold them all."""
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        answer = client.increment_concurrency_slots_with_lease(
            [name], 1, "concurrency", LEASE_SECONDS
        )
    except PrefectHTTPStatusError as error:
        if error.response.status_code != LOCKED:
            raise
        return None
    lease = UUID(answer.json()["lease_id"])
    me = psutil.Process()
    record = {"pid": me.pid, "created": me.create_time(), "limit": name}
    _folder(state).mkdir(parents=True, exist_ok=True)
    write_json(_file(state, lease), record | {"host": socket.gethostname()})
    return lease


def _renew(lease: UUID, ended: threading.Event) -> None:
    from prefect.client.orchestration import get_client

    while not ended.wait(RENEW_SECONDS):
        try:
            with get_client(sync_client=True) as client:
                client.renew_concurrency_lease(lease, LEASE_SECONDS)
        except Exception as error:
            # The work goes on: at worst another run starts beside it.
            log.info("the slot's lease was not renewed: %s", error)


def _release(state: State, lease: UUID) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        client.release_concurrency_slots_with_lease(lease)
    _file(state, lease).unlink(missing_ok=True)


def _folder(state: State) -> Path:
    return state.root / "turns"


def _file(state: State, lease: UUID) -> Path:
    return _folder(state) / f"{lease}.json"


def _alive(pid: int, created: float) -> bool:
    if pid == os.getpid():
        return True
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
