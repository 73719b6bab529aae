"""A tiny model in a folder, a text file, and a state folder of the test's own."""

import random
import shutil
from pathlib import Path

import pytest

from tasks.state import State
from tests.support.tiny_subject import tiny_subject


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-block Llama over bytes, saved as transformers saves it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    subject = tiny_subject()
    subject.model.save_pretrained(folder)
    subject.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty documents of invented words, enough for three parts."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(2, 6))) for _ in range(120)]
    documents = [" ".join(rng.choices(words[: 20 + index], k=60)) for index in range(60)]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n\n".join(documents), encoding="utf-8")
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Path:
    """A state folder without runs; flows run as plain functions, no endpoint is set."""
    folder = tmp_path / "state"
    folder.mkdir()
    shutil.copy(empty_store, folder / empty_store.name)
    monkeypatch.setenv("AUTOPRUNE_HOME", str(folder))
    monkeypatch.setenv("AUTOPRUNE_PREFECT", "off")
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def migrated(home: Path, prefect_template: Path) -> Path:
    """The same folder with a database of Prefect, of which a recorded command needs one."""
    place = State.open(home).prefect
    place.mkdir()
    shutil.copy(prefect_template, place / prefect_template.name)
    return home
