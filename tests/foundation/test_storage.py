"""Atomic writes leave the old content or the new, never half."""

import errno
from pathlib import Path

import pytest

from autoprune.errors import AutopruneError
from autoprune.storage import atomic_file, atomic_folder, write_json, write_text


def test_text_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "note.txt"
    write_text(target, "one")
    write_text(target, "two ü")
    assert target.read_text(encoding="utf-8") == "two ü"
    assert list(target.parent.iterdir()) == [target]


def test_json_is_stable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": 2})
    write_json(tmp_path / "b.json", {"a": 2, "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("stop")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    with pytest.raises(AutopruneError, match=r"note\.txt.*No space left"), atomic_file(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_folder_is_swapped_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for text in ("one", "two"):
        with atomic_folder(target) as temporary:
            (temporary / f"{text}.txt").write_text(text)
    assert [path.name for path in target.iterdir()] == ["two.txt"]
    assert list(tmp_path.iterdir()) == [target]


def test_failed_folder_keeps_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as temporary:
        (temporary / "good").write_text("good")
    with pytest.raises(AutopruneError, match="No space"), atomic_folder(target) as temporary:
        (temporary / "half").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [path.name for path in target.iterdir()] == ["good"]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_folder_that_cannot_be_swapped_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as temporary:
        (temporary / "good").write_text("good")
    rename = Path.rename

    def refusing(self: Path, to: Path) -> Path:
        # The old folder moves away, the new one may not come.
        if to == target and not (comes_back and self.name.endswith("-old")):
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refusing)
    said = "nothing was changed" if comes_back else r"is in .*-old now"
    refused = pytest.raises(AutopruneError, match=f"Permission denied.*{said}")
    with refused, atomic_folder(target) as temporary:
        (temporary / "new").write_text("new")
    (left,) = tmp_path.iterdir()
    assert (left == target) is comes_back
    assert [path.name for path in left.iterdir()] == ["good"]
