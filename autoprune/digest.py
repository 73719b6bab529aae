"""Content digests, stable across processes and machines: SHA-256 in hex."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import DamagedFileError

if TYPE_CHECKING:
    from torch import Tensor

CHUNK_BYTES = 1 << 22


def digest_bytes(data: bytes) -> str:
    """SHA-256 of ``data`` as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """Digest of a JSON value; key order does not matter, floats keep their shortest form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return digest_bytes(text.encode())


def windows_digest(windows: "Tensor") -> str:
    """SHA-256 of token windows, shape included."""
    return digest_bytes(
        repr(tuple(windows.shape)).encode() + windows.contiguous().cpu().numpy().tobytes()
    )


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content, read in chunks."""
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()


def verify_file(path: Path, expected: str) -> None:
    """Check a file against its recorded digest."""
    found = digest_file(path)
    if found != expected:
        raise DamagedFileError(
            f"{path} is damaged: SHA-256 is {found[:16]}…, {expected[:16]}… was expected; "
            "delete the file and run the command again"
        )
