"""A tiny model in a folder, a text file, and a state folder of the test's own."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from autoprune.report.canvas import Canvas
from flows.cli import main
from tasks.state import State
from tests.support.tiny_subject import invented_documents, save_subject, tiny_subject

# A picture in the form of PNG.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-block Llama over bytes, saved as transformers saves it."""
    return save_subject(tiny_subject(), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty documents of invented words, enough for three parts."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(invented_documents(), encoding="utf-8")
    return path


@pytest.fixture
def rows(text_file: Path, tmp_path: Path) -> Path:
    """The documents of the text file, independent of each other."""
    documents = text_file.read_text(encoding="utf-8").split("\n\n")
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in documents), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def sketched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn, but rendered only for a module with ``PICTURES``, and in tests/report.

    Rendering is matplotlib's work, and a third of a tiny search's.
    """
    if not getattr(request.module, "PICTURES", False):
        monkeypatch.setattr(Canvas, "_save", _outline)


def _outline(_: Canvas, stream: Any, **options: object) -> None:
    if options["format"] == "svg":
        stream.write('<svg width="1pt" height="1pt" viewBox="0 0 1 1"></svg>')
    else:
        stream.write(PIXEL)


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
def pruned(tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path) -> Path:
    """The tiny model, 60 % by magnitude, as the command saves it."""
    out = tmp_path / "pruned"
    words = f"prune {tiny_folder} --corpus {text_file} --out {out} --metric magnitude -q"
    assert main([*words.split(), "--calibration-windows", "2", "--seqlen", "48"]) == 0
    return out


@pytest.fixture
def migrated(home: Path, prefect_template: Path) -> Path:
    """The same folder with a database of Prefect, of which a recorded command needs one."""
    place = State.open(home).prefect
    place.mkdir()
    shutil.copy(prefect_template, place / prefect_template.name)
    return home
