"""Three ways to make the same image, none of which needs a registry unless you ask for one.

``bind`` imports an image of a few hundred bytes and mounts this machine's interpreter, packages
and libraries read-only: nothing to build, local only. ``interpreter`` packs the same files into
an image of about 1 GB that no longer depends on the host's files. ``dockerfile`` builds
``sandbox/Dockerfile`` on any base. The tag holds a digest of everything that decides a score.
"""

import contextlib
import hashlib
import io
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from docker.errors import ImageNotFound

from sandbox.contents import Contents, find_contents
from sandbox.engine import CALL_TIMEOUT_S, ENGINE_ERRORS, HOME, LABEL, ContainerEngine
from sandbox.errors import SandboxUnavailableError
from sandbox.image_ref import ImageRef
from sandbox.packing import add_bytes, add_folder, add_tree

Kind = Literal["auto", "bind", "interpreter", "dockerfile"]
REPOSITORY = "autoprune-sandbox"
WORKER = Path(__file__).parent / "worker"
_LABEL_CONTENTS = f"{LABEL}.contents"
_LABEL_PYTHON = f"{LABEL}.python"
_BUILDERS = ("contents.py", "packing.py")
_FORMAT = "1"
_COMMIT_CHANGES = ["USER 65534:65534", "WORKDIR /"]


def ensure_image(
    kind: Kind = "auto",
    *,
    engine: ContainerEngine | None = None,
    base: str | None = None,
    wheels: Path | None = None,
) -> ImageRef:
    """Return the image of this interpreter and worker, making it if it does not exist yet.

    With ``base`` or ``wheels`` it is made in any case.
    """
    connection = engine or ContainerEngine()
    try:
        if kind == "auto":
            for made in ("interpreter", "dockerfile"):
                found = _find(connection, made)
                if found is not None:
                    return found
            kind = "bind"
        # The tag says nothing about base and wheels, so an image that is there may have others.
        found = None if base or wheels else _find(connection, kind)
        return found or _make(connection, kind, base, wheels)
    finally:
        if engine is None:
            connection.close()


def image_digest(kind: str) -> str:
    """Digest of what decides a score: worker source, Python, torch, numpy, safetensors."""
    digest = hashlib.sha256()
    parts = [_FORMAT, kind, sys.version]
    parts += [f"{name}={metadata.version(name)}" for name in ("torch", "numpy", "safetensors")]
    if kind == "interpreter":
        parts += [(WORKER.parent / name).read_text(encoding="utf-8") for name in _BUILDERS]
    if kind == "bind":
        parts += [sys.executable, str(Path(sys.executable).resolve())]
    for path in sorted(WORKER.glob("*.py")):
        parts += [path.name, path.read_text(encoding="utf-8")]
    if kind == "dockerfile":
        parts += [_dockerfile().read_text(encoding="utf-8"), _requirements()]
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part.encode())
    return digest.hexdigest()[:16]


def _tag(kind: str) -> str:
    return f"{REPOSITORY}:{kind}-{image_digest(kind)}"


def _find(engine: ContainerEngine, kind: str) -> ImageRef | None:
    tag = _tag(kind)
    try:
        info = engine.api.inspect_image(tag)
    except ImageNotFound:
        return None
    except ENGINE_ERRORS as error:
        raise SandboxUnavailableError(
            f"the Docker Engine did not answer ({error}); start it and run the same command again"
        ) from error
    labels = info.get("Config", {}).get("Labels") or {}
    if kind != "bind":
        return ImageRef(kind, tag, info["Id"])
    contents = Contents.from_label(labels[_LABEL_CONTENTS])
    if not all(Path(source).exists() for source, _ in contents.mounts):
        return None
    return _bind_ref(tag, info["Id"], contents)


def _make(engine: ContainerEngine, kind: str, base: str | None, wheels: Path | None) -> ImageRef:
    try:
        if kind == "bind":
            return _make_bind(engine)
        if kind == "interpreter":
            _make_interpreter(engine)
        else:
            _make_dockerfile(engine, base, wheels)
    except ENGINE_ERRORS as error:
        raise SandboxUnavailableError(
            f"could not make the {kind} image: {str(error)[:300]}; free some disk or choose "
            "another kind (autoprune doctor --build interpreter needs no registry)"
        ) from error
    found = _find(engine, kind)
    if found is None:
        raise SandboxUnavailableError(f"the daemon did not keep image {_tag(kind)}; build it again")
    return found


def _make_bind(engine: ContainerEngine) -> ImageRef:
    contents = find_contents()
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        add_folder(archive, "opt/autoprune")
    _import(engine, data, _tag("bind"), [f"LABEL {_LABEL_CONTENTS}={contents.to_label()}"])
    info = engine.api.inspect_image(_tag("bind"))
    return _bind_ref(_tag("bind"), info["Id"], contents)


def _bind_ref(tag: str, image_id: str, contents: Contents) -> ImageRef:
    worker = (str(WORKER.resolve()), f"{HOME}/app/worker")
    return ImageRef("bind", tag, image_id, (*contents.mounts, worker), contents.masked)


def _make_interpreter(engine: ContainerEngine) -> None:
    contents = find_contents()
    with tempfile.TemporaryFile() as data:
        with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for source, target in (*contents.mounts, (str(WORKER), f"{HOME}/app/worker")):
                add_tree(archive, Path(source), target)
        data.seek(0)
        label = f"LABEL {_LABEL_PYTHON}={sys.executable}"
        _import(engine, data, _tag("interpreter"), [*_COMMIT_CHANGES, label])
    _remove_superseded(engine)


def _remove_superseded(engine: ContainerEngine) -> None:
    """Remove earlier images of the same interpreter, except those in use."""
    label = f"{_LABEL_PYTHON}={sys.executable}"
    for info in engine.api.images(filters={"label": label}):
        if _tag("interpreter") not in (info.get("RepoTags") or []):
            with contextlib.suppress(*ENGINE_ERRORS):
                engine.api.remove_image(info["Id"])


def _make_dockerfile(engine: ContainerEngine, base: str | None, wheels: Path | None) -> None:
    arguments = {"BASE_IMAGE": base} if base else {}
    if wheels is not None:
        arguments["PIP_OPTIONS"] = "--no-index"
    with tempfile.TemporaryFile() as context:
        with tarfile.open(fileobj=context, mode="w") as archive:
            add_bytes(archive, "Dockerfile", _dockerfile().read_bytes())
            add_bytes(archive, "requirements.txt", _requirements().encode())
            for path in sorted(WORKER.glob("*.py")):
                add_bytes(archive, f"worker/{path.name}", path.read_bytes())
            add_folder(archive, "wheels")
            for path in sorted(wheels.glob("*.whl")) if wheels else ():
                archive.add(path, f"wheels/{path.name}")
        context.seek(0)
        engine.api.timeout = 600
        try:
            _build(engine, context, arguments, offline=wheels is not None)
        finally:
            engine.api.timeout = CALL_TIMEOUT_S


def _build(
    engine: ContainerEngine, context: Any, arguments: dict[str, str], *, offline: bool
) -> None:
    last = ""
    for line in engine.api.build(
        fileobj=context,
        custom_context=True,
        tag=_tag("dockerfile"),
        buildargs=arguments,
        network_mode="none" if offline else None,
        labels={LABEL: "1", f"{LABEL}.base": arguments.get("BASE_IMAGE", "")},
        use_config_proxy=False,
        rm=True,
        forcerm=True,
        decode=True,
    ):
        if "error" in line:
            reason = " ".join(f"{line['error']} ({last})".split())[:300]
            raise SandboxUnavailableError(
                f"building sandbox/Dockerfile failed: {reason}; name a base image that is here "
                "(--base) and a folder of wheels (--wheels), or make the image without a registry: "
                "autoprune doctor --build interpreter"
            )
        last = str(line.get("stream", "")).strip() or last


def _import(engine: ContainerEngine, data: Any, tag: str, changes: list[str]) -> None:
    repository, _, name = tag.partition(":")
    data.seek(0)
    engine.api.timeout = 600
    try:
        # A generator: the SDK announces chunks, but only sends them when the length is unknown.
        chunks = iter(lambda: data.read(1 << 20), b"")
        engine.api.import_image_from_stream(
            chunks, repository=repository, tag=name, changes=changes
        )
    finally:
        engine.api.timeout = CALL_TIMEOUT_S


def _dockerfile() -> Path:
    return Path(__file__).parent / "Dockerfile"


def _requirements() -> str:
    return (Path(__file__).parent / "requirements.txt").read_text(encoding="utf-8")
