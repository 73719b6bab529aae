"""Starts the platform, or reuses what runs; ends only what this command started."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from autoprune.errors import AutopruneError, PrerequisiteError, UsageError
from autoprune.lazy import require
from flows.nightly.nights import Night, remember_night
from flows.platform import processes, services
from flows.platform.api_server import log_tail
from flows.platform.login import login_file, login_of, mlflow_login_of
from flows.platform.pools import POOL, remember_pool
from flows.platform.ports import port_taken
from flows.platform.processes import Register, Running
from flows.platform.services import MLFLOW, PREFECT, Server, Service
from flows.platform.stale_runs import mark_stale_runs
from flows.up import provisioning
from tasks import track
from tasks.state import State, without_login

START_SECONDS = 180.0
PATIENCE_SECONDS = 30.0
REVIVE_SECONDS = 2.0
POLL_SECONDS = 0.3
RESTARTS = 10
Say = Callable[[str], None]


class BusyError(AutopruneError):
    """Another command has been starting or stopping this state folder's services for too long."""


@dataclass
class Platform:
    """Servers and worker of one state folder.

    Args:
        state: The state folder.
        say: Where progress goes, one line at a time.
        pool: Work pool of the runs.
        night: The nightly search; None: no search.
        asked: The night was asked for now; see :func:`provisioning.deploy_all`.
    """

    state: State
    say: Say
    pool: str = POOL
    night: Night | None = None
    asked: bool = False
    nightly: str = ""
    api: str = ""
    mlflow: str = ""
    started: dict[str, Running] = field(default_factory=dict)
    _services: dict[str, Service] = field(default_factory=dict)
    _begun: dict[str, float] = field(default_factory=dict)
    _restarts: int = 0

    @property
    def register(self) -> Register:
        """The register of what this state folder's commands started."""
        return processes.register_of(self.state)

    def up(self, prefect_port: int | None, mlflow_port: int | None, runs: int | None) -> None:
        """Start what is missing, prepare the server, deploy.

        Settings of a part that is already running have no effect; a line says so.
        """
        require("prefect", "mlflow")
        try:
            with changing(self.state):
                self._up(prefect_port, mlflow_port, runs)
        except BaseException:
            self.stop_started()
            raise

    def _up(self, prefect_port: int | None, mlflow_port: int | None, runs: int | None) -> None:
        alive = self.register.read()
        self._require_pool(alive.get("worker"))
        if "prefect" in alive and not login_file(self.state).exists():
            self.say(
                "the servers that run here ask for no login, as an earlier version started them; "
                "run `autoprune down`, then `autoprune up` again"
            )
        waiting = [
            self._prefect(alive.get("prefect"), prefect_port),
            self._mlflow(alive.get("mlflow"), mlflow_port),
        ]
        for service in waiting:
            if service is not None:
                self._await(service)
        login = login_of(self.state, self.api)
        for line in provisioning.prepare_server(self.api, self.pool, login):
            self.say(f"made: {line}")
        for name in provisioning.delete_gone(self.api, self.pool, login):
            self.say(f"deleted: the deployment {name}, whose flow this version does not have")
        count, fresh, self.night = provisioning.deploy_all(
            self.api, self.pool, login, self.night, asked=self.asked
        )
        self.say(f"{count} deployments {'written' if fresh else 'are there already'}")
        with provisioning.client_of(self.api, login) as client:
            for name in mark_stale_runs(client, self.state):
                self.say(f"marked as crashed, its process is gone: {name}")
        remember_pool(self.state, self.pool)
        remember_night(self.state, self.night)
        self.nightly = provisioning.nightly_text(self.api, self.pool, login)
        self._worker(alive.get("worker"), runs)

    def stop_started(self) -> None:
        """Stop what this object started, the worker first."""
        if not self.started:
            return
        try:
            with changing(self.state, PATIENCE_SECONDS):
                self._end_started()
                noted = self.register.noted()
                # Another command may have started one of the same name by now.
                mine = [n for n, one in self.started.items() if noted.get(n) == one]
                self.register.remove(mine)
        except BusyError:
            # Ended processes may stay in the register; its readers check whether they are alive.
            self._end_started()
        self.started.clear()

    def _end_started(self) -> None:
        for name in sorted(self.started, key=lambda name: name != "worker"):
            processes.stop(self.started[name])

    def revive(self) -> str:
        """Restart what ended by itself; return the reason if that has happened too often.

        What another command has stopped or restarted in the meantime is left to that command.
        """
        if all(running.process() is not None for running in self.started.values()):
            return ""
        try:
            with changing(self.state, REVIVE_SECONDS):
                return self._revive()
        except BusyError:
            # The next check comes in a second; until then the other command is in charge.
            return ""

    def _revive(self) -> str:
        noted = self.register.noted()
        for name, running in list(self.started.items()):
            if running.process() is not None:
                continue
            title = self._services[name].title
            if noted.get(name) != running:
                del self.started[name]
                return f"another `autoprune up` or `down` ended the {title}"
            text = f"the {title} ended by itself ({_last_output(running)})"
            if self._restarts >= RESTARTS:
                return text
            self._restarts += 1
            self.say(f"{text}; it is started again")
            self._launch(self._services[name])
        return ""

    def _prefect(self, known: Running | None, wanted: int | None) -> Service | None:
        def answers(url: str) -> bool:
            return services.prefect_answers(url, login_of(self.state, url))

        self.api = self._there(PREFECT, os.environ.get(PREFECT.variable), known, wanted, answers)
        if self.api:
            return None
        port = wanted or self.register.port("prefect") or services.PREFECT_PORT
        service = services.prefect_server(self.state, port)
        self._start(service, port, PREFECT.option, services.prefect_is_at(service.url))
        self.api = service.url
        return service

    def _mlflow(self, known: Running | None, wanted: int | None) -> Service | None:
        def answers(url: str) -> bool:
            return services.mlflow_answers(url, mlflow_login_of(self.state, url))

        uri = self.state.tracking_uri
        own = uri if uri.startswith(("http://", "https://")) else None
        self.mlflow = self._there(MLFLOW, own, known, wanted, answers)
        if self.mlflow:
            return None
        port = wanted or self.register.port("mlflow") or services.MLFLOW_PORT
        service = services.mlflow_server(self.state, port)
        # Two creators of one database collide, so it is made before the server opens it.
        self._database()
        self._start(service, port, MLFLOW.option, services.mlflow_is_at(service.url))
        self.mlflow = service.url
        return service

    def _there(
        self,
        server: Server,
        own: str | None,
        known: Running | None,
        wanted: int | None,
        answers: Callable[[str], bool],
    ) -> str:
        """Address of the server that the environment names or that runs here; empty: start one."""
        if own:
            if not answers(own):
                raise PrerequisiteError(
                    f"{server.variable} is {without_login(own)}, but no {server.title} answers "
                    f"there, or it does not accept the login in {server.login}; start it, set "
                    f"its login, or unset {server.variable} to have one started here"
                )
            self.say(f"{server.title}: {without_login(own)} of {server.variable} is used")
            if wanted:
                self.say(
                    f"{server.option} {wanted} has no effect; unset {server.variable} for that"
                )
            return own
        if known is None:
            return ""
        self._require_answer(known, server.title, answers)
        self.say(f"{server.title}: runs already at {services.prefect_page(known.url)}")
        self._without_effect(server.option, wanted, known.port)
        return known.url

    def _without_effect(self, option: str, wanted: int | None, now: int | None) -> None:
        """Say that an option comes too late for what is already running."""
        if wanted is None or wanted == now:
            return
        as_it_is = "" if now is None else f", it stays {now}"
        self.say(
            f"{option} {wanted} has no effect on what runs already{as_it_is}; for another value "
            "run `autoprune down`, then `autoprune up` again"
        )

    def _require_answer(self, known: Running, title: str, ready: Callable[[str], bool]) -> None:
        """Give a server that is already running some time: it may be busy or restarting."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not ready(known.url):
            if time.monotonic() > deadline or known.process() is None:
                raise PrerequisiteError(
                    f"the {title} of {self.state.root} (process {known.pid}) gives no answer at "
                    f"{known.url}; run `autoprune down`, then `autoprune up` again"
                )
            time.sleep(POLL_SECONDS)

    def _database(self) -> None:
        track.Tracker(self.state).client.search_experiments(max_results=1)

    def _require_pool(self, worker: Running | None) -> None:
        """Check that a worker that is already running takes the runs to be deployed."""
        taken = None if worker is None else _worker_option(worker, "--pool")
        if worker is not None and taken not in (None, self.pool):
            raise PrerequisiteError(
                f"the worker of {self.state.root} (process {worker.pid}) takes runs of the pool "
                f"{taken!r} and not of {self.pool!r}; run `autoprune down`, then `autoprune up` "
                "again, or use a state folder of its own for each pool"
            )

    def _worker(self, known: Running | None, runs: int | None) -> None:
        if known is not None:
            if known.url not in ("", self.api):
                raise PrerequisiteError(
                    f"the worker of {self.state.root} (process {known.pid}) takes runs from "
                    f"{without_login(known.url)} and not from {without_login(self.api)}; run "
                    "`autoprune down`, then `autoprune up` again"
                )
            self.say("worker: runs already")
            limit = _worker_option(known, "--limit")
            self._without_effect("--runs", runs, int(limit) if limit else None)
            return
        begun = time.time()
        login = login_of(self.state, self.api)
        service = services.worker(self.state, self.api, runs or services.RUNS, self.pool, login)
        self._launch(service)
        self._until(service, lambda: self._worker_seen(begun))

    def _worker_seen(self, since: float) -> bool:
        with provisioning.client_of(self.api, login_of(self.state, self.api)) as client:
            found = client.read_workers_for_work_pool(self.pool)
        beats = [w.last_heartbeat_time for w in found if w.name == services.worker_name()]
        return any(beat is not None and beat.timestamp() >= since - 1.0 for beat in beats)

    def _start(self, service: Service, port: int, option: str, answers: bool) -> None:
        if port_taken(port):
            holder = processes.port_holder(port)
            what = f"another {service.title}" if answers else "another program"
            variable = "PREFECT_API_URL" if service.name == "prefect" else "MLFLOW_TRACKING_URI"
            use = f"; to use that one set {variable}={service.url} and its login" if answers else ""
            raise UsageError(
                f"port {port} is taken by {what}{f' ({holder})' if holder else ''}, which was not "
                f"started from {self.state.root}; choose a free port with {option} NUMBER{use}"
            )
        self._launch(service)

    def _launch(self, service: Service) -> None:
        log = processes.folder(self.state) / f"{service.name}.log"
        self.say(f"{service.title}: starting (log: {log})")
        self._begun[service.name] = time.monotonic()
        running = processes.start(
            service.command, service.environment, service.folder, log, service.url
        )
        self.started[service.name] = running
        self._services[service.name] = service
        self.register.add(service.name, running)

    def _await(self, service: Service) -> None:
        ready = {"prefect": services.prefect_answers, "mlflow": services.mlflow_answers}
        self._until(service, lambda: ready[service.name](service.url, service.login))

    def _until(self, service: Service, ready: Callable[[], bool]) -> None:
        running, begun = self.started[service.name], self._begun[service.name]
        noted = begun
        while not ready():
            now = time.monotonic()
            if running.process() is None:
                raise PrerequisiteError(
                    f"the {service.title} ended while starting: {_last_output(running)}; see "
                    f"{running.log}"
                )
            if now - begun > START_SECONDS:
                raise PrerequisiteError(
                    f"the {service.title} gave no answer in {START_SECONDS:.0f} s; see "
                    f"{running.log}, then run `autoprune up` again"
                )
            if now - noted >= 10.0:
                noted = now
                self.say(f"{service.title}: starting, {now - begun:.0f} s")
            time.sleep(POLL_SECONDS)
        where = f" at {service.page}" if service.page else ""
        self.say(f"{service.title}: ready{where} after {time.monotonic() - begun:.0f} s")


def bring_down(state: State, say: Say) -> list[str]:
    """Stop everything that commands of this state folder started; return the names.

    Runs that the worker holds end with it; rerunning them resumes their searches.
    """
    register = processes.register_of(state)
    with changing(state):
        alive = register.read()
        for name in sorted(alive, key=lambda name: name != "worker"):
            processes.stop(alive[name])
            say(f"{name}: stopped")
        register.remove(register.noted())
    return list(alive)


@contextmanager
def changing(state: State, seconds: float | None = None) -> Iterator[None]:
    """Let one command at a time start or stop things."""
    place = processes.folder(state)
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(place / "up.lock"))
    patience = START_SECONDS if seconds is None else seconds
    try:
        with lock.acquire(timeout=patience):
            yield
    except Timeout as error:
        raise BusyError(
            f"another `autoprune up` or `down` is at work in {state.root} for more than "
            f"{patience:.0f} s; wait until it is done, then run this again"
        ) from error


def _worker_option(worker: Running, option: str) -> str | None:
    """Return the value of an option that a worker was started with."""
    process = worker.process()
    try:
        arguments = [] if process is None else process.cmdline()
        return arguments[arguments.index(option) + 1]
    except (psutil.Error, ValueError, IndexError):
        return None


def _last_output(running: Running) -> str:
    return log_tail(Path(running.log)).strip()[-300:] or "it left no words in its log"
