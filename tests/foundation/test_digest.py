"""Digests are SHA-256, independent of key order, and name the damaged file."""

from pathlib import Path

import pytest

from autoprune.digest import digest_bytes, digest_file, digest_json, verify_file
from autoprune.errors import DamagedFileError


def test_known_value() -> None:
    assert digest_bytes(b"abc").startswith("ba7816bf8f01cfea")


def test_json_key_order_does_not_matter() -> None:
    assert digest_json({"a": 1.5, "b": [1]}) == digest_json({"b": [1], "a": 1.5})
    assert digest_json({"a": 1}) != digest_json({"a": 2})


def test_damage_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.gguf"
    path.write_bytes(b"abc")
    verify_file(path, digest_file(path))
    path.write_bytes(b"abd")
    with pytest.raises(DamagedFileError, match=r"weights\.gguf is damaged"):
        verify_file(path, digest_bytes(b"abc"))
