"""What a search begins with on this machine, checked before anything is created."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from autoprune.design.given import read_facts, read_script
from autoprune.design.mailbox import Mailbox
from autoprune.errors import AutopruneError, UsageError
from autoprune.storage import read_object, write_json
from flows import library
from flows.params.fields import FILES
from tasks.run_files import RunFiles
from tasks.state import State

if TYPE_CHECKING:
    from autoprune.search.spec import SearchSpec


class _Beginning(Protocol):
    """The fields of :class:`flows.search.params.SearchParams` that are read here."""

    # Read only: settings are frozen.
    @property
    def run(self) -> str | None: ...
    @property
    def designer(self) -> str: ...
    @property
    def starts(self) -> tuple[str, ...]: ...
    @property
    def facts(self) -> str | None: ...
    @property
    def script(self) -> str | None: ...
    @property
    def prompt_folder(self) -> Path | None: ...
    def run_id(self) -> str: ...
    def spec(self) -> "SearchSpec": ...


def require_beginning(params: _Beginning) -> None:
    """Check the run's name, and the starts, files and folders that a search begins with.

    A search that has begun may have lost files: it has a copy of its templates, and may be
    finished. Earlier versions began without starts that are refused now.
    """
    if params.run is not None:
        State.at().run(params.run)
    try:
        if params.script is not None:
            read_script(Path(params.script))
        if params.prompt_folder is not None and not params.prompt_folder.is_dir():
            library.Prompts(params.prompt_folder)
        if params.designer.startswith(FILES):
            Mailbox(Path(params.designer.removeprefix(FILES)), params.run or "").probe()
        for text, reason in unmeasured(params).items():
            raise UsageError(
                f"the start {text!r} would not be measured: {reason}; leave it out, or change it"
            )
    except AutopruneError:
        if not has_begun(params):
            raise


def unmeasured(params: _Beginning) -> dict[str, str]:
    """Starts that this search would leave out, each with the reason."""
    if not params.starts:
        return {}
    spec = params.spec()
    made = zip(params.starts, spec.starts, strict=True)
    return {text: reason for text, one in made if (reason := spec.left_out(one))}


def given_facts(params: _Beginning) -> list[str]:
    """Sentences of the inspection that prompts show; empty if none is given.

    A search that has begun with this very file reads its own copy: before a resume the file may be
    written anew or removed, or its relative path may lead elsewhere. Another file is compared.
    """
    if params.facts is None:
        return []
    if params.run is not None:
        files = RunFiles.of(State.at(), params.run)
        is_there = files.log.exists() and files.inspection.exists() and files.params.exists()
        if is_there and read_object(files.params).get("facts") == params.facts:
            return read_facts(files.inspection)
    return read_facts(Path(params.facts).expanduser())


def keep_facts(files: RunFiles, facts: Sequence[str], source: str | None) -> None:
    """Keep the inspection that a search was started with in its folder, for prompts and report."""
    if not facts or files.inspection.exists():
        return
    kept: dict[str, Any] = {"facts": list(facts)}
    with suppress(AutopruneError, OSError):
        found = read_object(Path(source or "").expanduser())
        if found.get("facts") == kept["facts"]:
            kept = found
    write_json(files.inspection, kept)


def has_begun(params: _Beginning) -> bool:
    """Whether a search with these settings is in the state folder."""
    state = State.at()
    # The name is made from the specification, for which torch is imported.
    return bool(state.run_ids()) and RunFiles.of(state, params.run_id()).log.exists()
