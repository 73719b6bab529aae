"""A Dask cluster on this machine that no other user can reach.

Anyone who reaches a Dask scheduler can run code as its user, and every local user can reach the
loopback. So scheduler, workers and client use TLS with certificates made for this cluster alone and
kept in memory. The HTTP pages are not served at all: Dask opens them (8787, then any port) even
when the dashboard is switched off, and they require no login.
"""

from typing import Any, cast

from distributed import LocalCluster, Nanny, Scheduler, Security, Worker


class QuietScheduler(Scheduler):
    """A scheduler without pages."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Open no port."""


class QuietWorker(Worker):
    """A worker without pages."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Open no port."""


class QuietNanny(Nanny):
    """Starts and watches the process of one :class:`QuietWorker`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"worker_class": QuietWorker})


class LocalDask(LocalCluster):
    """Scheduler in this process, workers in their own, all on 127.0.0.1."""

    def __init__(self, n_workers: int, env: dict[str, str], **options: Any) -> None:
        # Dask's signatures have no types.
        cluster, certificates = cast(Any, super()), cast(Any, Security)
        cluster.__init__(
            n_workers=n_workers,
            threads_per_worker=1,
            worker_class=QuietNanny,
            host="127.0.0.1",
            security=certificates.temporary(),
            dashboard_address=None,
            env=env,
            **options,
        )

    async def _start(self) -> None:
        self.scheduler_spec = self.scheduler_spec | {"cls": QuietScheduler}
        await cast(Any, super())._start()
