"""Results go to a free place, or over what was given up by a word; never over a source."""

import os
from pathlib import Path

import pytest

from autoprune.errors import UsageError
from autoprune.models.target import check_target
from autoprune.targets import check_apart, check_file, check_folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "dense"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "notes.md").write_text("years of work")
    return folder


def test_a_free_place_is_taken(tmp_path: Path, model: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("absent", "empty"):
        check_folder(tmp_path / name, sources=[model])
    check_file(tmp_path / "absent.html", sources=[model])


def test_a_place_that_cannot_be_written_is_refused_before_the_work() -> None:
    # Not even the superuser can.
    with pytest.raises(UsageError, match="the folder /proc/new cannot be written"):
        check_folder(Path("/proc/new"))


def test_rows_and_programs_are_sources_by_their_files(tmp_path: Path, model: Path) -> None:
    for text in (f"{model / 'notes.md'}#question", f"program:{model / 'notes.md'}"):
        with pytest.raises(UsageError, match="holds the source"):
            check_target(str(model), str(tmp_path / "other"), [text], overwrite=True)


def test_the_model_that_writes_the_text_is_a_source(tmp_path: Path, model: Path) -> None:
    for settings in (f"model={model}", f"prompts=chains,model={model}"):
        with pytest.raises(UsageError, match="is the source itself"):
            check_target(
                str(model), str(tmp_path / "other"), [f"self-generated:{settings}"], overwrite=True
            )


def test_a_model_is_given_up_by_a_word_only(tmp_path: Path, model: Path) -> None:
    with pytest.raises(UsageError, match=r"holds a saved model.*--overwrite"):
        check_folder(model)
    check_folder(model, overwrite=True)
    with pytest.raises(UsageError, match="or pass overwrite=True to replace it with every file"):
        check_folder(model, allow="pass overwrite=True")
    with pytest.raises(UsageError, match=r"saved model; name another folder$"):
        check_folder(model, allow=None)


@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_else_is_ever_replaced(tmp_path: Path, model: Path, overwrite: bool) -> None:
    file = model / "notes.md"
    with pytest.raises(UsageError, match="not empty and holds no saved model"):
        check_folder(tmp_path, overwrite=overwrite)
    with pytest.raises(UsageError, match="is a file"):
        check_folder(file, overwrite=overwrite)
    with pytest.raises(UsageError, match="is a folder"):
        check_file(model, overwrite=overwrite)


def test_a_file_is_given_up_by_a_word_only(tmp_path: Path, model: Path) -> None:
    file, dangling = model / "notes.md", tmp_path / "link"
    dangling.symlink_to(tmp_path / "nowhere")
    for path in (file, dangling):
        with pytest.raises(UsageError, match=r"exists.*--overwrite"):
            check_file(path)
        with pytest.raises(UsageError, match=r"exists.*or pass overwrite=True to replace it"):
            check_file(path, allow="pass overwrite=True")
        check_file(path, overwrite=True)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("models/dense", "is the source itself"),
        ("models/../models/dense", "is the source itself"),
        ("link", "is the source itself"),
        ("models/dense/pruned", "lies in the source"),
        ("link/deep/pruned", "lies in the source"),
        ("models", "holds the source"),
        (".", "holds the source"),
    ],
)
def test_a_source_is_never_written_over(
    tmp_path: Path, model: Path, target: str, words: str
) -> None:
    (tmp_path / "link").symlink_to(model)
    for sources in ([model], [tmp_path / "link"]):
        for check in (check_folder, check_file):
            with pytest.raises(UsageError, match=words):
                check(tmp_path / target, sources=sources, overwrite=True)


def test_a_source_is_known_by_its_inode(tmp_path: Path, model: Path) -> None:
    twin = tmp_path / "twin.md"
    os.link(model / "notes.md", twin)
    with pytest.raises(UsageError, match="is the source itself"):
        check_file(twin, sources=[model / "notes.md"], overwrite=True)
    check_folder(tmp_path / "beside", sources=[twin])


def test_files_may_be_added_above_a_source(tmp_path: Path, model: Path) -> None:
    check_apart(tmp_path, [model, tmp_path / "absent"], may_hold=True)
    with pytest.raises(UsageError, match="holds the source"):
        check_apart(tmp_path, [model])


def test_what_no_rename_can_replace_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"is the current folder.* name a folder inside it"):
        check_folder(Path())
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path / "out")
    with pytest.raises(UsageError, match="is a mount point, which cannot be replaced"):
        check_folder(tmp_path / "out")
    check_folder(tmp_path / "out" / "model")
