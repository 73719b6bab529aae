"""A Dask cluster of this machine: no pages, and no work for whoever has no certificate."""

import os
from collections.abc import Iterator

import psutil
import pytest

distributed = pytest.importorskip("distributed")

from flows.local_dask import LocalDask  # noqa: E402


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


@pytest.fixture(scope="module")
def before() -> set[psutil.Process]:
    """What earlier tests left running in this process."""
    return children()


@pytest.fixture(scope="module")
def cluster(before: set[psutil.Process]) -> Iterator[LocalDask]:
    with LocalDask(n_workers=1, env={"OMP_NUM_THREADS": "1"}) as found:
        with distributed.Client(found, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=300)
        yield found


def ports(process: psutil.Process) -> list[tuple[str, int]]:
    return [
        (found.laddr.ip, found.laddr.port)
        for found in process.net_connections("tcp")
        if found.status == psutil.CONN_LISTEN
    ]


def test_nothing_listens_but_the_scheduler_and_the_worker(
    cluster: LocalDask, before: set[psutil.Process]
) -> None:
    workers = children() - before
    family = [psutil.Process(), *workers]
    listening = {place for process in family for place in ports(process)}
    known = {cluster.scheduler_address, *cluster.scheduler.workers}
    known |= {worker.nanny for worker in cluster.scheduler.workers.values()}
    assert all(address.startswith("tls://127.0.0.1:") for address in known)
    ours = {("127.0.0.1", int(address.rpartition(":")[2])) for address in known}
    assert ours <= listening
    assert 8787 not in {port for _, port in listening}
    # Each process of the cluster has its own port; nothing else was opened beside them.
    of_workers = {place for process in workers for place in ports(process)}
    assert of_workers <= ours


def test_a_stranger_s_client_gets_no_work_done(cluster: LocalDask) -> None:
    port = cluster.scheduler_address.rpartition(":")[2]
    for address, security in (
        (f"tcp://127.0.0.1:{port}", None),
        (f"tls://127.0.0.1:{port}", distributed.Security.temporary()),
    ):
        with pytest.raises((OSError, TimeoutError)):
            distributed.Client(address, security=security, timeout=3, set_as_default=False)


def test_our_own_client_does(cluster: LocalDask) -> None:
    with distributed.Client(cluster, set_as_default=False) as client:
        assert client.submit(os.getpid).result(timeout=300) != os.getpid()
        assert client.submit(os.environ.get, "OMP_NUM_THREADS").result(timeout=300) == "1"
