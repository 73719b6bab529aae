"""What an agent may name: runs of one state folder, and files inside the project's folder."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.design.mailbox import Mailbox
from autoprune.errors import AutopruneError, UsageError
from autoprune.models.reference import known_models
from autoprune.names import HUB
from autoprune.program_files import in_file, is_program
from autoprune.search.arms import CONTROLS
from autoprune.spelling import split_list, split_outside
from autoprune.storage import read_object
from flows.search.params import SearchParams
from flows.search.runs import find_run, saved_params
from tasks.run_files import RunFiles
from tasks.state import State

# Suites that run no code and read no file that their settings name.
SUITES = ("lm", "lastword", "degenerate", "reasoning", "cost")
UNFINISHED = "still running or interrupted"
# Without a dot, so that none is a file name.
_NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class Project:
    """One project and its limits.

    Args:
        root: Its folder; an agent may name nothing outside it.
        state: The state folder of its runs.
    """

    root: Path
    state: State

    # References

    def inside(self, text: str) -> Path:
        """Resolve a path inside the project, or inside one of its runs."""
        path = (self.root / text).resolve() if "\x00" not in text else None
        roots = (self.root.resolve(), self.state.runs.resolve())
        if path is None or text.startswith("~") or not any(map(path.is_relative_to, roots)):
            raise UsageError(
                f"{text!r} leads outside of the project's folder; name something inside {self.root}"
            )
        return path

    def model(self, ref: str) -> str:
        """Check a model reference that an agent named."""
        if ref.startswith("package:"):
            if ref not in known_models():
                raise UsageError(f"{ref!r} is not an installed model; see `autoprune ls models`")
            return ref
        self.inside(ref)
        return ref

    def corpus(self, ref: str) -> str:
        """Check a text reference that an agent named, or several with commas between them."""
        # Some commands take a list, others one file, whose name may have a comma.
        for part in map(str.strip, (ref, *ref.split(","))):
            if part.startswith("self-generated:"):
                raise UsageError(f"{part!r} names a model; take self-generated without parameters")
            if part.startswith(HUB):
                # What is an id there may be a folder here.
                self.inside(part.removeprefix(HUB).partition(":")[0])
            elif not _NAME.fullmatch(part):
                self.inside(part)
                self.inside(part.rpartition("#")[0])
        return ref

    def methods(self, names: list[str]) -> str:
        """Format the methods of a comparison as the command takes them."""
        text = ",".join(names)
        for method in split_list(text):
            head = split_outside(method, "+")[0]
            if is_program(head) or in_file(head):
                raise UsageError(
                    f"method {method!r}: programs and files are not compared here; name built-in "
                    "metrics and formulas, such as wanda+ramp or expr:abs(W)*x_norm"
                )
            if head.startswith("llm-compressor"):
                raise UsageError("llm-compressor runs in another environment; leave it out")
        return text

    def suites(self, names: list[str]) -> str:
        """Format the suites of an evaluation as the command takes them."""
        wrong = [name for name in names if name not in SUITES]
        if wrong or not names:
            raise UsageError(
                f"suites {', '.join(wrong) or 'none'}: choose from {', '.join(SUITES)}, without "
                "settings"
            )
        return ",".join(names)

    # Runs

    def runs(self) -> list[str]:
        """Return the names of all searches, latest first."""
        known = self.state.run_ids()
        return [name for name in known if RunFiles.of(self.state, name).log.exists()]

    def run(self, name: str) -> RunFiles:
        """Return the files of a run."""
        return RunFiles.of(self.state, find_run(self.state, name))

    def require_open(self, name: str, *arms: str) -> None:
        """Refuse to show what a run's questions keep from its designer, until it has ended."""
        params = saved_params(self.state, name)
        if (params.arm in arms or params.hide) and not self.ended(self.run(name)):
            kept = f"hides {', '.join(params.hide)}" if params.hide else f"is of arm {params.arm}"
            raise UsageError(
                f"the run {name!r} {kept}, so that its questions show less than this; ask again "
                "when it has ended"
            )

    def require_unsealed(self, corpus: str) -> str:
        """Refuse to measure text of which a run that an agent designs keeps a sealed part."""
        wanted = self._texts(corpus)
        for name, params in self._designed_here():
            if shared := wanted & self._texts(params.corpus):
                raise UsageError(
                    f"the run {name!r} has not ended and keeps a part of "
                    f"{', '.join(sorted(shared))} sealed until then, which figures on this text "
                    "would show its designer; ask again when it has ended, or name another text"
                )
        return corpus

    def require_own_split(self, run: str, asked: SearchParams) -> None:
        """Refuse a search whose end shows figures on what another open run keeps sealed."""
        wanted = self._texts(asked.corpus)
        for name, params in self._designed_here():
            same = params.text_split == asked.text_split and wanted & self._texts(params.corpus)
            if same and name != run:
                raise UsageError(
                    f"the run {name!r} has not ended and keeps the sealed part of split "
                    f"{asked.text_split} of {', '.join(sorted(same))} sealed until then, which the "
                    "end of this search would show its designer; give another text_split, or fresh"
                )

    def _designed_here(self) -> Iterator[tuple[str, SearchParams]]:
        """Runs that agents design and that have not ended, with their settings."""
        for name in self.runs():
            files = RunFiles.of(self.state, name)
            if self.ended(files):
                continue
            try:
                params = saved_params(self.state, name)
            except AutopruneError:
                # Its settings are gone, or another version's: nothing here goes on with it.
                continue
            if params.mailbox(name, files) is not None:
                yield name, params

    def _texts(self, corpus: str) -> set[str]:
        """The texts that a reference names; files by their whole path, whatever the column."""
        found = set()
        for part in split_list(corpus):
            files = [name for name in (part, part.rpartition("#")[0]) if name]
            paths = [path for name in files if (path := (self.root / name).resolve()).exists()]
            found.add(str(paths[0]) if paths else part)
        return found

    def shown(self, job: str, reply: Mapping[str, Any]) -> dict[str, Any]:
        """A job's reply, without results in the log of a search whose questions show fewer.

        What went wrong is shown in any case.
        """
        run = job.removeprefix("search-")
        if job == run or run not in self.runs():
            return dict(reply)
        try:
            self.require_open(run, *CONTROLS)
        except UsageError:
            errors = [line for line in reply.get("log", []) if line.startswith("autoprune: ")]
            kept = {name: value for name, value in reply.items() if name != "log"}
            return kept | ({"log": errors} if errors else {})
        return dict(reply)

    def mailbox(self, name: str) -> Mailbox:
        """Return the mailbox of a run's questions."""
        files = self.run(name)
        box = saved_params(self.state, name).mailbox(name, files)
        if box is None:
            raise UsageError(
                f"the run {name!r} has a designer other than files; start one with start_search"
            )
        self.inside(str(box.folder))
        return box

    def status_of(self, name: str, *, alive: bool) -> dict[str, Any]:
        """Return the state of a run: what is left, what waits, what to do next."""
        files = self.run(name)
        waits = self.waiting(name)
        ended = self.ended(files)
        over = "working" if alive else "finished" if ended else "stopped"
        status = "asking" if waits and not ended else over
        facts = files.read_facts()
        left = facts.get("left") or self._left_at_first(name, waits)
        return {
            "run": name,
            "status": status,
            "left_of_budget": left,
            "questions_waiting": len(waits),
            "text_split": self.text_split(name),
            "next": _next(status, len(waits), left, facts.get("progress", {}), alive=alive),
        }

    def text_split(self, name: str) -> int | None:
        """Return the number of the split of a run's text; None before it is chosen."""
        path = RunFiles.of(self.state, name).params
        known = read_object(path).get("text_split") if path.exists() else None
        return known if isinstance(known, int) else None

    def waiting(self, name: str) -> list[str]:
        """Return the ids of unanswered questions."""
        try:
            box = self.mailbox(name)
        except AutopruneError:
            return []
        return [found for found in box.open_ids() if not box.is_answered(found)]

    def _left_at_first(self, name: str, waits: list[str]) -> Any:
        """Return what is left of the budget according to a question; None before the first."""
        asked = self.mailbox(name).read_question(waits[0]) if waits else None
        return None if asked is None else asked.get("left")

    def ended(self, files: RunFiles) -> str:
        """Return why a run is over; empty while it is not."""
        ended = self.report(files).get("ended", "")
        return "" if ended == UNFINISHED else str(ended)

    def report(self, files: RunFiles) -> dict[str, Any]:
        """Return the run's record; empty before the first."""
        return read_object(files.report) if files.report.exists() else {}


def _next(status: str, waits: int, left: Any, progress: Mapping[str, Any], *, alive: bool) -> str:
    more = _left_in_words(left or {})
    ends = progress.get("stage") == "end"
    match status:
        case "finished":
            return "the search is finished: call results, then compare or evaluate the winner"
        case "asking":
            taken = "" if alive else "; nobody works on the run: call resume_search as well"
            return (
                f"{waits} question{'s wait' if waits > 1 else ' waits'}: answer each, then call "
                f"next_questions again, until the status is finished{more}{taken}"
            )
        case "working" if ends:
            return (
                "final measurement, no more questions: call next_questions until the status is "
                "finished"
            )
        case "working":
            return (
                f"it measures{_progress_in_words(progress)}; call next_questions, which waits for "
                f"the next ones{more}"
            )
        case _:
            rest = "; only the final measurement is missing" if ends else more
            return f"nobody works on it: call resume_search{rest}"


def _left_in_words(left: Mapping[str, Any]) -> str:
    """Describe the limit on the number of recipes that ends the search first."""
    known = {
        name: left[name] for name in ("evaluations", "candidates") if left.get(name) is not None
    }
    if not known:
        return ""
    first = min(known, key=lambda name: known[name])
    return f"; {known[first]:g} {first} are left in the budget"


def _progress_in_words(progress: Mapping[str, Any]) -> str:
    if not progress.get("recipes"):
        return ""
    number = progress.get("generation")
    what = "the hand-made starts" if number is None else f"generation {number}"
    return f" {what}: {progress['measured']} of {progress['recipes']} recipes so far"
