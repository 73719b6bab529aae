"""The outside of the sandbox: hand over source, get scores or a reason, never anything else."""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from sandbox.cell import Cell, CellLost, Ended, LayerInput, Order
from sandbox.codes import Code
from sandbox.engine import Engine
from sandbox.errors import SandboxBroken
from sandbox.exchange import Workspace
from sandbox.image import Kind, ensure_image
from sandbox.limits import Limits
from sandbox.outcomes import Accepted, Rejected
from sandbox.ownership import this_process
from sandbox.pool import Pool
from sandbox.probe_layers import probe_tensors, write_probe_layers
from sandbox.readout import Readout
from sandbox.reaper import reap_orphans
from sandbox.screen import screen
from sandbox.verdicts import clean_text

_CONTROL = "def score(W, stats, params):\n    return W.abs()\n"


class Sandbox:
    """Runs designed code in single-use containers.

    Thread-safe. Use as a context manager: entering makes the image if needed, removes what dead
    runs left and starts warming containers; leaving removes everything.

    Args:
        inputs: Folder that holds the layer files.
        image: How to get the image (see ``ensure_image``).
        limits: Limits of every container.
        run_id: Label of this run's containers.
        screening: Apply the static screen first; off only for tests of the container itself.

    Raises:
        SandboxUnavailable: On entering, if there is no Docker or no image; exit code 4.
    """

    def __init__(
        self,
        *,
        inputs: Path,
        image: Kind = "auto",
        limits: Limits | None = None,
        run_id: str = "",
        screening: bool = True,
    ) -> None:
        self._inputs = inputs
        self._kind: Kind = image
        self._limits = limits or Limits()
        self._run_id = run_id
        self._screening = screening
        jobs = self._limits.jobs_at_once or max(1, (os.cpu_count() or 1) - 1)
        self._slots = threading.BoundedSemaphore(jobs)
        self._open = False

    def __enter__(self) -> Self:
        self._engine = Engine()
        self._owner = this_process()
        try:
            self.image = ensure_image(self._kind, engine=self._engine)
            reap_orphans(self._engine, self._inputs)
            self._workspace = Workspace(self._inputs, self._owner)
        except BaseException:
            self._engine.close()
            raise
        probe_folder = self._workspace.links / "probe"
        probe_folder.mkdir()
        self._probe_layers = write_probe_layers(probe_folder)
        longest = max(self._limits.probe_s, self._limits.score_s)
        self._pool = Pool(self._make_cell, self._limits.warm, longest)
        self._open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill and remove every container and folder of this sandbox; harmless twice."""
        if not self._open:
            return
        self._open = False
        self._pool.close()
        for container in self._pool.unremoved:
            self._engine.remove(container)
        self._workspace.close()
        self._engine.close()

    def probe(self, source: str, params: Mapping[str, float] | None = None) -> Accepted | Rejected:
        """Check the contract on small synthetic layers, twice, in different orders.

        Args:
            source: Python source that defines ``score(W, stats, params)``.
            params: Constants handed to it.

        Raises:
            SandboxBroken: If the sandbox itself fails.
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
        """Score real layers.

        Args:
            source: Python source that defines ``score(W, stats, params)``.
            layers: Layer files in the inputs folder.
            params: Constants handed to it.
            repeat: Score all layers again in a second process, in reverse, and compare.
            check_inputs: Reject code that changes its inputs in place (each call gets fresh ones
                in any case).

        Raises:
            SandboxBroken: If the sandbox itself fails.
        """
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

    def _make_cell(self) -> Cell:
        return Cell(self.image, self._limits, self._workspace, self._run_id, self._owner)

    def _try(self, order: Order) -> Accepted | Rejected:
        start = time.perf_counter()
        refusal = screen(order.source) if self._screening else None
        if refusal is not None:
            return replace(refusal, seconds=time.perf_counter() - start)
        with self._slots:
            outcome = self._attempt(order)
            if isinstance(outcome, _Vanished):
                # Nothing inside can end PID 1, so this was most likely someone outside: once more.
                outcome = self._attempt(order)
            if not isinstance(outcome, _Vanished):
                return outcome
            self._require_control(outcome.detail)
            return Rejected(Code.KILLED, clean_text(outcome.detail), outcome.seconds)

    def _attempt(self, order: Order) -> "Accepted | Rejected | _Vanished":
        """Run once; ``_Vanished`` when the container went away for no reason of its own."""
        cell = self._pool.take()
        start = time.perf_counter()
        try:
            runs = Readout(order, cell, self._limits.distinct_scores)
            try:
                ended = cell.run(order, runs.read)
                lost = None
            except CellLost as error:
                ended, lost = None, error
            state = cell.state()
            seconds = time.perf_counter() - start
        finally:
            self._pool.discard(cell)
        if state.oom:
            detail = f"more memory than the limit was used; {len(order.layers)} layers"
            return Rejected(Code.OOM, detail, seconds)
        if lost is not None:
            return self._explain(lost, seconds)
        assert ended is not None
        return self._judge(order, runs, ended, seconds)

    def _explain(self, lost: CellLost, seconds: float) -> "Rejected | _Vanished":
        if lost.kind == "ended":
            return _Vanished(str(lost), seconds)
        self._require_control(str(lost))
        code = Code.TIMEOUT if lost.kind == "late" else Code.PROTOCOL
        return Rejected(code, clean_text(str(lost)), seconds)

    def _judge(
        self, order: Order, runs: Readout, ended: Ended, seconds: float
    ) -> Accepted | Rejected:
        printed = clean_text(ended.printed, 2000)
        if ended.code != "ok":
            code = Code(ended.code) if ended.code in set(Code) else Code.PROTOCOL
            if code in (Code.KILLED, Code.CRASHED, Code.INCOMPLETE):
                self._require_control(ended.detail)
            return Rejected(code, clean_text(ended.detail), seconds, printed)
        failure = runs.failure()
        if failure is not None:
            return Rejected(failure[0], clean_text(failure[1]), seconds, printed)
        return Accepted(tuple(runs.scores[0]), seconds, self.image.tag)

    def _require_control(self, seen: str) -> None:
        """After an anomaly: does a fresh container still give the known answer?

        Raises:
            SandboxBroken: If it does not.
        """
        order = Order(_CONTROL, {}, self._probe_layers, ((0, 1, 2),), False, self._limits.probe_s)
        cell = self._pool.take()
        try:
            runs = Readout(order, cell, self._limits.distinct_scores)
            ended = cell.run(order, runs.read)
        except CellLost as error:
            raise SandboxBroken(
                f"a known-good job failed in a fresh container ({error}) after: {seen[:200]}; "
                "run: autoprune sandbox check"
            ) from error
        finally:
            self._pool.discard(cell)
        expected = [np.abs(probe_tensors(index)["W"]) for index in range(len(runs.scores[0]))]
        right = all(map(np.array_equal, runs.scores[0], expected))
        if ended.code != "ok" or not right:
            raise SandboxBroken(
                f"a known-good job gave {ended.code} ({clean_text(ended.detail, 200)}) after: "
                f"{seen[:200]}; run: autoprune sandbox check"
            )


@dataclass(frozen=True)
class _Vanished:
    detail: str
    seconds: float
