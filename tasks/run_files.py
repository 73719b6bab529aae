"""What a search keeps besides its log: settings, facts that were measured once, report, winner."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from autoprune.storage import read_object
from tasks.facts import Facts, KeptFacts
from tasks.state import SETTINGS_FILE, State


@dataclass(frozen=True)
class RunFiles:
    """Paths of one run.

    Args:
        folder: The run's folder.
    """

    folder: Path

    @classmethod
    def of(cls, state: State, run_id: str) -> "RunFiles":
        """Files of the run called ``run_id``."""
        return cls(state.run(run_id))

    @property
    def log(self) -> Path:
        """The search's own log; the only file that cannot be recreated."""
        return self.folder / "search.db"

    @property
    def templates(self) -> Path:
        """Copy of the prompt templates that the search was started with, if it had its own."""
        return self.folder / "prompts"

    @property
    def inspection(self) -> Path:
        """Copy of the inspection that the search was started with, if any."""
        return self.folder / "inspection.json"

    @property
    def params(self) -> Path:
        """Settings that the search was started with."""
        return self.folder / SETTINGS_FILE

    @property
    def facts(self) -> Path:
        """Model, text, dense perplexity, machine, times."""
        return self.folder / "facts.json"

    @property
    def report(self) -> Path:
        """The run as data."""
        return self.folder / "report.json"

    @property
    def calls(self) -> Path:
        """Questions to the designer with their answers."""
        return self.folder / "calls.json"

    @property
    def questions(self) -> Path:
        """Folder of the designer ``files``, if none is named."""
        return self.folder / "questions"

    @property
    def mask_records(self) -> Path:
        """What is needed to reproduce each candidate's masks."""
        return self.folder / "recipes.json"

    @property
    def page(self) -> Path:
        """The readable report."""
        return self.folder / "report.html"

    @property
    def plots(self) -> Path:
        """Folder of the report's pictures, one file each."""
        return self.folder / "plots"

    @property
    def winner(self) -> Path:
        """The winner's checkpoint."""
        return self.folder / "winner"

    @property
    def smaller(self) -> Path:
        """The model that a demo makes after its search."""
        return self.folder / "smaller"

    def read_facts(self) -> Facts:
        """The facts so far; empty at the start."""
        known: Any = read_object(self.facts) if self.facts.exists() else {}
        return cast(Facts, known)

    def open_facts(self) -> KeptFacts:
        """The facts so far, for the process that adds to them."""
        return KeptFacts(self.facts, self.read_facts())

    def read_calls(self) -> list[dict[str, Any]]:
        """Questions to the designer with their answers, as of the last record."""
        calls: list[dict[str, Any]] = []
        return read_object(self.calls)["calls"] if self.calls.exists() else calls
