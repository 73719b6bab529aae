"""Runs on one machine take turns: a slot of a Prefect concurrency limit around the heavy part.

`autoprune up` creates the limits; on a server without them, or one that is down, no run waits. A
slot is a one-minute lease that is renewed. Its number is also kept in the state folder with the
process that holds it, so the next process that wants a slot can give back that of a killed one,
whether or not the server still knows its lease.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
from filelock import FileLock, Timeout
from prefect.context import FlowRunContext

from autoprune.models.device import default_device
from tasks.slots import local_slots, notes, remove_note, unheld, write_note
from tasks.state import State

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

# A command shows this log on its screen (flows/terminal/console.py), a worker in the run's log.
log = logging.getLogger("autoprune.turns")

LEASE_SECONDS = 60.0
RENEW_SECONDS = 20.0
POLL_SECONDS = 2.0
# `autoprune up` restarts a server that ended by itself within this time.
OUTAGE_SECONDS = 30.0
# A slot and its note are taken within this time.
LOCK_SECONDS = 10.0
LOCKED = 423


def machine_limit() -> str:
    """Limit on this machine's scarce resource: ``gpu`` if there is an accelerator, else ``cpu``."""
    return "cpu" if default_device() == "cpu" else "gpu"


@contextmanager
def turn(state: State, limit: str | None = None) -> Iterator[None]:
    """Hold a slot of ``limit`` (default: the machine's) while the body runs.

    There is no wait outside a recorded flow run, or if the limit does not exist. Nor in a Dask
    worker: the run that it works for already holds the slot and waits for the worker.
    """
    run = FlowRunContext.get()
    if run is None or run.detached:
        yield
        return
    lease = _acquire(state, limit or machine_limit())
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
            # The work is complete; a server that is down must not make it fail.
            log.warning("a slot was not given back (%s); its lease ends by itself", error)


def release_dead(state: State, client: "SyncPrefectClient") -> int:
    """Give back the slots that processes of this machine held when they were killed."""
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

    released = 0
    for note in notes(state):
        if not note.is_here or note.is_alive:
            continue
        try:
            client.release_concurrency_slots_with_lease(note.lease)
            released += 1
        except (ObjectNotFound, PrefectHTTPStatusError):
            log.info("lease %s had ended before", note.lease)
        remove_note(state, note.lease)
    return released


def free_unheld(state: State, client: "SyncPrefectClient", name: str) -> int:
    """Give back slots of a limit that the database counts although no live holder has them.

    They remain when a lease is lost with the server that kept it. Only the server of this state
    folder's own database is corrected: the holders at another server are not known here.
    """
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

    found = client.read_global_concurrency_limit_by_name(name)
    with _alone(state) as alone:
        ours = [slots for slots in local_slots(state) if slots.number == found.id]
        lost = unheld(state, ours[0]) if ours and alone else 0
        if lost > 0:
            left = GlobalConcurrencyLimitUpdate(active_slots=ours[0].active - lost)
            client.update_global_concurrency_limit(name, left)
            log.info("a slot of the limit %r is free again: the run that held it was killed", name)
    return lost


def _acquire(state: State, name: str) -> UUID | None:
    """The lease of a slot; None if there is no such limit or no server that answers."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    # Do not wait for a silent server until it has answered once.
    patience, silent_since, announced = 0.0, time.monotonic(), False
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
                # Not on the first try: another project's slot gets its lease a moment later.
                if freed == 0 and announced:
                    freed = free_unheld(state, client, name)
        except ObjectNotFound:
            return None
        except httpx.HTTPError as error:
            if time.monotonic() - silent_since >= patience:
                log.warning("no slot of the limit %r (%s); the run goes on without", name, error)
                return None
            freed = 0
        if freed == 0:
            if not announced and patience > 0.0:
                log.info(
                    "waiting: another run holds the slot of the limit %r%s", name, _who(state, name)
                )
                announced = True
            time.sleep(POLL_SECONDS)


def _limited(client: "SyncPrefectClient", name: str) -> bool:
    return bool(client.read_global_concurrency_limit_by_name(name).active)


def _take(state: State, client: "SyncPrefectClient", name: str) -> UUID | None:
    """Take a slot and note its holder; None while others hold all slots."""
    from prefect.exceptions import PrefectHTTPStatusError

    # Under one lock, lest another process mistake a slot without a note yet for an abandoned one.
    with _alone(state):
        try:
            answer = client.increment_concurrency_slots_with_lease(
                [name], 1, "concurrency", LEASE_SECONDS
            )
        except PrefectHTTPStatusError as error:
            if error.response.status_code != LOCKED:
                raise
            return None
        lease = UUID(answer.json()["lease_id"])
        write_note(state, lease, name)
    return lease


@contextmanager
def _alone(state: State) -> Iterator[bool]:
    """Admit one process of this state folder at a time; False if another takes too long."""
    lock = FileLock(str(state.root / "turns.lock"))
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _who(state: State, name: str) -> str:
    held = [str(note.pid) for note in notes(state) if note.limit == name and note.is_alive]
    return f" (process {', '.join(held)})" if held else ""


def _renew(lease: UUID, ended: threading.Event) -> None:
    """Renew the lease until the work ends; note each outage once, and stop if it is gone."""
    from prefect.client.orchestration import get_client

    silent = False
    while not ended.wait(RENEW_SECONDS):
        try:
            with get_client(sync_client=True) as client:
                client.renew_concurrency_lease(lease, LEASE_SECONDS)
            silent = False
        except Exception as error:
            gone = isinstance(error, httpx.HTTPStatusError) and (
                error.response.status_code == httpx.codes.GONE
            )
            # The work continues: at worst another run starts alongside it.
            if gone:
                log.info("the slot was lost with its server; the work goes on without one")
                return
            if not silent:
                log.info("the slot's lease was not renewed: %s", error)
            silent = True


def _release(state: State, lease: UUID) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        client.release_concurrency_slots_with_lease(lease)
    remove_note(state, lease)
