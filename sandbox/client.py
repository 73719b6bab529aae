"""The host side of the sandbox: source goes in; scores or a reason come out, and nothing else."""

import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError

from sandbox.attempt import Attempt, attempt
from sandbox.codes import Code
from sandbox.container import Container, ContainerLostError, LayerInput, Order
from sandbox.contract import VARIANTS
from sandbox.engine import ENGINE_ERRORS, ContainerEngine
from sandbox.errors import SandboxBrokenError, SandboxUnavailableError
from sandbox.exchange import Workspace
from sandbox.image import Kind, ensure_image
from sandbox.kept import KeptContainers
from sandbox.limits import Limits
from sandbox.outcomes import Accepted, Rejected
from sandbox.ownership import LABEL_BOX, LABEL_OWNER, LABEL_RUN, this_process
from sandbox.pool import Pool
from sandbox.probe_layers import SHAPES, STATISTICS, probe_tensors, write_probe_layers
from sandbox.probe_programs import write_tiny_block
from sandbox.reaper import reap_orphans, remove_box
from sandbox.screen import BLOCK, PROGRAM, entry_of, screen, screen_params
from sandbox.verdicts import clean_text

# A candidate refused with one of these codes gave the same scores twice.
_JUDGED_AFTER_REPEAT = frozenset({Code.NOT_EQUIVARIANT, Code.SCALE_UNSTABLE})
_CONTROL = "def score(W, stats, params):\n    return W.abs()\n"


class Sandbox:
    """Runs designed code in single-use containers.

    Thread-safe. Use as a context manager: entering makes the image if needed, cleans up after
    dead runs and starts warming containers; leaving removes everything.

    Args:
        inputs: Folder that holds the layer files.
        image: How to get the image (see ``ensure_image``).
        limits: Limits of every container.
        run_id: Label of this run's containers.
        screening: Apply the static screen first; off for tests of the container itself, and for
            code that is neither a metric nor a program.
        statistics: What the probe's layers carry besides ``W``, same as the real ones.

    Raises:
        SandboxUnavailableError: On entering, if there is no Docker or no image; exit code 4.
    """

    def __init__(
        self,
        *,
        inputs: Path,
        image: Kind = "auto",
        limits: Limits | None = None,
        run_id: str = "",
        screening: bool = True,
        statistics: Collection[str] = STATISTICS,
    ) -> None:
        self._inputs = inputs
        self._kind: Kind = image
        self._limits = limits or Limits()
        self._run_id = run_id
        self._screening = screening
        self._statistics = frozenset(statistics)
        jobs = self._limits.jobs_at_once or max(1, (os.cpu_count() or 1) - 1)
        self._slots = threading.BoundedSemaphore(jobs)
        self._open = False
        self._tiny: dict[str, list[LayerInput]] = {}
        self._writing = threading.Lock()

    def __enter__(self) -> Self:
        self._engine = ContainerEngine()
        self._owner = this_process()
        self._box = secrets.token_hex(8)
        try:
            self._engine.require_runtime(self._limits.runtime)
            self.image = ensure_image(self._kind, engine=self._engine)
            reap_orphans(self._engine, self._inputs)
            self._workspace = Workspace(self._inputs, self._owner)
            try:
                self._probe_layers = self._write_probe_layers()
            except BaseException:
                self._workspace.close()
                raise
        except BaseException as error:
            self._engine.close()
            if not isinstance(error, ENGINE_ERRORS):
                raise
            raise SandboxUnavailableError(
                f"could not open the sandbox ({str(error)[:300]}); run the same command again, or: "
                "autoprune doctor"
            ) from error
        longest = max(self._limits.probe_s, self._limits.score_s)
        self._pool = Pool(self._make_container, self._limits.warm, longest)
        self._kept = KeptContainers(self._pool)
        self._open = True
        return self

    def _write_probe_layers(self) -> list[LayerInput]:
        folder = self._workspace.links / "probe"
        try:
            folder.mkdir()
            tensors = [variant.tensors() for variant in VARIANTS]
            return write_probe_layers(folder, tensors, self._statistics)
        except (OSError, SafetensorError) as error:
            raise SandboxBrokenError(
                f"could not write the probe layers into {folder} ({error}); free some disk and run "
                "the same command again"
            ) from error

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill and remove every container and folder of this sandbox; safe to call twice."""
        if not self._open:
            return
        self._open = False
        self._kept.let_go()
        self._pool.close()
        remove_box(self._engine, self._box)
        self._workspace.close()
        self._engine.close()

    def probe(self, source: str, params: Mapping[str, float] | None = None) -> Accepted | Rejected:
        """Check the contract on small synthetic layers and variants of them, twice.

        The second run uses another container and the reverse order.
        """
        layers = self._probe_layers
        order = tuple(range(len(layers)))
        return self._try(
            Order(
                source=source,
                params=dict(params or {}),
                layers=layers,
                runs=(order, order[::-1]),
                check_inputs=True,
                wall_s=self._limits.probe_s,
                contract=True,
            )
        )

    def score(
        self,
        source: str,
        layers: Sequence[LayerInput],
        params: Mapping[str, float] | None = None,
        *,
        repeat: bool = False,
        check_inputs: bool = False,
    ) -> Accepted | Rejected:
        """Score real layers."""
        order = tuple(range(len(layers)))
        return self._try(
            Order(
                source=source,
                params=dict(params or {}),
                layers=layers,
                runs=(order, order[::-1]) if repeat else (order,),
                check_inputs=check_inputs,
                wall_s=self._limits.score_s,
            )
        )

    def probe_program(
        self, source: str, params: Mapping[str, float] | None = None
    ) -> Accepted | Rejected:
        """Run a program on tiny layers or blocks, twice, in two containers and in two orders."""
        entry = entry_of(source, PROGRAM)
        with self._writing:
            if entry not in self._tiny:
                self._tiny[entry] = _written(entry, self._workspace.links / "probe")
            tiny = self._tiny[entry]
        order = tuple(range(len(tiny)))
        return self._try(
            Order(
                source=source,
                params=dict(params or {}),
                layers=tiny,
                runs=(order, order[::-1]),
                check_inputs=True,
                wall_s=self._limits.probe_s,
                entry=entry,
            )
        )

    def prune_layers(
        self,
        source: str,
        layers: Sequence[LayerInput],
        params: Mapping[str, float] | None = None,
        *,
        wall_s: float,
        cpu_s: float | None = None,
        threads: int = 1,
    ) -> Accepted | Rejected:
        """Have a program prune real layers or blocks, each in its own process.

        The container waits for the next call with the same program; see :meth:`let_go`.
        """
        return self._try(
            Order(
                source=source,
                params=dict(params or {}),
                layers=layers,
                runs=(tuple(range(len(layers))),),
                check_inputs=True,
                wall_s=wall_s,
                cpu_s=cpu_s,
                threads=threads,
                entry=entry_of(source, PROGRAM),
                keep=True,
            )
        )

    def let_go(self) -> None:
        """Kill the containers that wait for a program's next call."""
        self._kept.let_go()

    def _make_container(self) -> Container:
        labels = {LABEL_RUN: self._run_id, LABEL_OWNER: self._owner, LABEL_BOX: self._box}
        try:
            return Container(self.image, self._limits, self._workspace, labels)
        except SandboxUnavailableError:
            # It has run nothing yet, so a retry is safe: someone may have removed the container.
            return Container(self.image, self._limits, self._workspace, labels)

    def _try(self, order: Order) -> Accepted | Rejected:
        start = time.perf_counter()
        refusal = screen(order.source, order.entry) if self._screening else None
        refusal = refusal or screen_params(order.params)
        if refusal is not None:
            return replace(refusal, seconds=time.perf_counter() - start)
        with self._slots:
            outcome = self._settled(order)
            if isinstance(outcome, Rejected) and outcome.code is Code.NONDETERMINISTIC:
                outcome = self._named_cause(order, outcome)
            return outcome

    def _settled(self, order: Order) -> Accepted | Rejected:
        outcome = self._attempt(order)
        if isinstance(outcome, _Vanished):
            # Nothing inside can end PID 1, so most likely something outside did: retry once.
            outcome = self._attempt(order)
        if not isinstance(outcome, _Vanished):
            return outcome
        self._require_control(outcome.detail)
        return Rejected(Code.KILLED, clean_text(outcome.detail), outcome.seconds)

    def _named_cause(self, order: Order, refusal: Rejected) -> Rejected:
        """Tell randomness from dependence on earlier layers, by two runs in the same order."""
        again = self._settled(replace(order, runs=(order.runs[0],) * 2))
        if isinstance(again, Rejected) and again.code not in _JUDGED_AFTER_REPEAT:
            return refusal
        detail = refusal.detail.partition(";")[0]
        return replace(
            refusal,
            code=Code.DEPENDS_ON_BATCH,
            detail=f"{detail}, and in the same order they do not; keep nothing between calls",
            seconds=refusal.seconds + again.seconds,
        )

    def _attempt(self, order: Order) -> "Accepted | Rejected | _Vanished":
        """Run once; ``_Vanished`` if the container disappeared through no fault of its own."""
        containers = self._kept.of(_digest(order)) if order.keep else self._pool
        tried = attempt(containers, order, self._limits.distinct_scores)
        if tried.oom:
            detail = (
                f"{len(order.layers)} layers needed more memory than a container has; work in "
                "blocks of columns and free what is no longer read"
            )
            return Rejected(Code.OOM, detail, tried.seconds)
        if tried.lost is not None:
            return self._explain(tried.lost, tried.seconds)
        return self._judge(tried)

    def _explain(self, lost: ContainerLostError, seconds: float) -> "Rejected | _Vanished":
        if lost.kind == "ended":
            return _Vanished(str(lost), seconds)
        self._require_control(str(lost))
        code = Code.TIMEOUT if lost.kind == "late" else Code.PROTOCOL
        return Rejected(code, clean_text(str(lost)), seconds)

    def _judge(self, tried: Attempt) -> Accepted | Rejected:
        assert tried.ended is not None
        printed = clean_text(tried.ended.printed, 2000)
        if tried.runs is None:
            ended = tried.ended.code
            code = Code(ended) if ended in set(Code) else Code.PROTOCOL
            if code in (Code.KILLED, Code.CRASHED, Code.INCOMPLETE):
                self._require_control(tried.ended.detail)
            return Rejected(code, clean_text(tried.ended.detail), tried.seconds, printed)
        if tried.failure is not None:
            code, detail = tried.failure
            return Rejected(code, clean_text(detail), tried.seconds, printed)
        return Accepted(tuple(tried.runs.layers), tried.seconds, self.image.tag)

    def _require_control(self, seen: str) -> None:
        """After an anomaly, check that a fresh container still gives the known answer."""
        layers = self._probe_layers[: len(SHAPES)]
        order = Order(
            _CONTROL, {}, layers, (tuple(range(len(layers))),), False, self._limits.probe_s
        )
        tried = attempt(self._pool, order, self._limits.distinct_scores)
        if tried.runs is None:
            reason = tried.lost or (tried.ended and f"{tried.ended.code} {tried.ended.detail}")
            raise SandboxBrokenError(
                f"a known-good job failed in a fresh container ({clean_text(str(reason), 200)}) "
                f"after: {seen[:200]}; run: autoprune doctor"
            )
        expected = [np.abs(probe_tensors(index)["W"]) for index in range(len(layers))]
        if not all(map(np.array_equal, tried.runs.scores[0], expected)):
            raise SandboxBrokenError(
                f"a known-good job gave other numbers than it must after: {seen[:200]}; "
                "run: autoprune doctor"
            )


def _digest(order: Order) -> str:
    """SHA-256 of a program: its source and constants."""
    text = json.dumps([order.source, sorted(order.params.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def _written(entry: str, folder: Path) -> list[LayerInput]:
    if entry != BLOCK:
        return write_tiny_block(folder)
    # Needs torch, unlike everything else here.
    from sandbox.probe_blocks import write_tiny_blocks

    return write_tiny_blocks(folder)


@dataclass(frozen=True)
class _Vanished:
    detail: str
    seconds: float
