"""What local designers enforce, cached for ``autoprune doctor`` because starting one is slow."""

from pathlib import Path
from typing import Any

from autoprune.design.canary import Canary
from autoprune.numerics import package_version
from autoprune.storage import read_object, write_json
from tasks.state import State

SERVER = "xllamacpp"


def remember(state: State, model: Path, seen: Canary) -> None:
    """Keep what a model's server was seen to enforce."""
    known = _known(state)
    known[_key(model)] = seen.to_json()
    write_json(_file(state), known)


def recall(state: State, model: Path) -> Canary | None:
    """What was seen of a model under the installed server; None if it has not been asked yet."""
    found = _known(state).get(_key(model))
    return None if found is None else Canary(**found)


def recall_others(state: State, model: Path) -> list[Canary]:
    """What was seen of other models under the installed server, by name."""
    own, server = _key(model), _server()
    known = sorted(_known(state).items())
    return [Canary(**item) for key, item in known if key != own and key.endswith(server)]


def _file(state: State) -> Path:
    return state.root / "models" / "canaries.json"


def _known(state: State) -> dict[str, Any]:
    path = _file(state)
    return read_object(path) if path.exists() else {}


def _key(model: Path) -> str:
    """Key of one server and one file: others may enforce something else."""
    size = model.stat().st_size if model.exists() else 0
    return f"{model.name}, {size} bytes, {_server()}"


def _server() -> str:
    return f"{SERVER} {package_version(SERVER, 'missing')}"
