"""What a person sees while a command runs: live bars on a terminal, plain lines in a log.

Everything goes to stderr; stdout belongs to the result.
"""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from autoprune.plain_text import one_line, printable
from autoprune.progress import Progress

log = logging.getLogger("autoprune.run")

# Waiting for a turn (tasks/turns.py) is shown on every screen: it looks like a hang.
TURNS_LOG = "autoprune.turns"
PLAIN_SECONDS = 10.0
# Parts of a candidate's measurement; a log has one line for all of them.
INNER_STAGES = frozenset({"masks", "repair", "evaluation"})


class Screen:
    """Base screen, for ``--quiet``: says nothing and remembers the stages' times."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started: dict[str, float] = {}

    def progress(self, progress: Progress) -> None:
        """Take one progress report of the library; a stage ends when all its units are done."""
        now = time.monotonic()
        begun = self._started.setdefault(progress.stage, now)
        self.seconds[progress.stage] = now - begun

    def event(self, text: str) -> None:
        """Something worth a line: a candidate's verdict, a stage's result."""

    def best(self, text: str) -> None:
        """The best result so far."""

    def remaining(self, seconds: float | None) -> None:
        """Estimated seconds until the command ends; None when unknown."""

    def mute(self, stages: frozenset[str]) -> None:
        """Leave these stages out on screens that print line by line."""

    def outcome(self, lines: Sequence[str]) -> None:
        """Show how a run ended if no command prints it."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class LogScreen(Screen):
    """The log, for runs without a terminal of their own, such as those of a Prefect worker."""

    def __init__(self) -> None:
        super().__init__()
        # PREFECT_LOGGING_EXTRA_LOGGERS sends our log to the run's page, but does not set its level.
        logger = logging.getLogger("autoprune")
        if logger.level == logging.NOTSET or logger.level == logging.WARNING:
            logger.setLevel(logging.INFO)

    def event(self, text: str) -> None:
        """Log the line."""
        log.info("%s", printable(text))

    def outcome(self, lines: Sequence[str]) -> None:
        """Log the lines: the run's page shows nothing else that a command prints."""
        for line in lines:
            self.event(line)


class PlainScreen(Screen):
    """One line per event, for pipes and continuous integration.

    Args:
        stream: Where lines go.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream
        self.muted: frozenset[str] = frozenset()
        self._printed: dict[str, float] = {}
        self._finished: set[str] = set()

    def progress(self, progress: Progress) -> None:
        """Print a stage's start and end, and an occasional line in a long one."""
        super().progress(progress)
        if progress.stage in self.muted:
            return
        stage, now = progress.stage, time.monotonic()
        ended = progress.total > 0 and progress.done >= progress.total
        if ended and stage not in self._finished:
            self._finished.add(stage)
            self._printed.pop(stage, None)
            if self.seconds[stage] >= 1.0:
                self.event(f"{stage}: done in {self.seconds[stage]:.0f} s {progress.note}".rstrip())
        elif not ended and now - self._printed.setdefault(stage, now) >= PLAIN_SECONDS:
            self._printed[stage] = now
            of = f" of {progress.total}" if progress.total else ""
            self.event(f"{stage}: {progress.done}{of} {progress.note}".rstrip())

    def event(self, text: str) -> None:
        """Print the line."""
        print(printable(text), file=self.stream, flush=True)

    def mute(self, stages: frozenset[str]) -> None:
        """Print no lines for these stages."""
        self.muted = stages

    def best(self, text: str) -> None:
        """Print the new best."""
        self.event(f"best so far: {text}")


class LiveScreen(Screen):
    """Bars, the current best and the time left, redrawn in place.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self.console = Console(file=stream, highlight=False)
        self.bars = Bars(
            TextColumn("{task.description:<16}", style="bold", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self.console,
            transient=True,
            refresh_per_second=4,
        )
        self._tasks: dict[str, Any] = {}
        self._best = ""
        self._left = ""
        self._footer = self.bars.add_task("", total=None, visible=False, note="")
        self.bars.start()

    def progress(self, progress: Progress) -> None:
        """Move the stage's bar; a finished stage becomes one line above the bars."""
        super().progress(progress)
        stage = progress.stage
        if stage not in self._tasks:
            self._tasks[stage] = self.bars.add_task(stage, total=progress.total or None, note="")
        self.bars.update(
            self._tasks[stage],
            completed=progress.done,
            total=progress.total or None,
            note=self._note(progress.note),
        )
        if progress.total and progress.done >= progress.total:
            self.bars.remove_task(self._tasks.pop(stage))
            self._started.pop(stage, None)

    def event(self, text: str) -> None:
        """Print the line above the bars."""
        self.console.print(printable(text), markup=False)

    def best(self, text: str) -> None:
        """Show the new best next to the bars."""
        self._best = f"best {text}"

    def remaining(self, seconds: float | None) -> None:
        """Show the time left next to the bars."""
        self._left = "" if seconds is None else f"about {clock(seconds)} left"

    def close(self) -> None:
        """Take the bars away."""
        self.bars.stop()

    def _note(self, note: str) -> str:
        return one_line(" · ".join(part for part in (note, self._best, self._left) if part))


def clock(seconds: float) -> str:
    """Format seconds: ``75`` as ``1:15``, ``3675`` as ``1:01:15``."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


class _OnScreen(logging.Handler):
    """Shows the messages of a log as lines of a screen.

    Args:
        screen: The screen.
    """

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self.screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Show one message."""
        self.screen.event(record.getMessage())


_current: list[Screen] = []


def screen() -> Screen:
    """Return the screen of this process; the log if no command has opened one."""
    return _current[-1] if _current else LogScreen()


def report(progress: Progress) -> None:
    """Reporter for the library that draws on the current screen."""
    screen().progress(progress)


@contextmanager
def open_screen(*, quiet: bool, stream: TextIO | None = None) -> Iterator[Screen]:
    """Choose the screen that fits the stream, and close it whatever happens."""
    target = stream or sys.stderr
    chosen: Screen
    if quiet:
        chosen = Screen()
    elif target.isatty():
        chosen = LiveScreen(target)
    else:
        chosen = PlainScreen(target)
    _current.append(chosen)
    waiting = logging.getLogger(TURNS_LOG)
    before = waiting.level, waiting.propagate, list(waiting.handlers)
    waiting.setLevel(logging.INFO)
    waiting.propagate, waiting.handlers = False, [_OnScreen(chosen)]
    try:
        yield chosen
    finally:
        waiting.setLevel(before[0])
        waiting.propagate, waiting.handlers = before[1], before[2]
        _current.remove(chosen)
        chosen.close()
