"""Commands and comparisons over a tiny model, a text file and a state folder of the test's own."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from tasks.state import State
from tests.support import small_comparison
from tests.support.command_line import PRUNE, CommandLine
from tests.support.sketched import sketched as sketched
from tests.support.small_comparison import Compared


@pytest.fixture
def rows(text_file: Path, tmp_path: Path) -> Path:
    """The documents of the text file, independent of each other."""
    documents = text_file.read_text(encoding="utf-8").split("\n\n")
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in documents), encoding="utf-8")
    return path


@pytest.fixture
def cli(
    tiny_folder: Path, text_file: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """Commands over that state folder; ``MODEL`` and ``TEXT`` are the tiny model and its text."""
    return CommandLine(capsys, MODEL=tiny_folder, TEXT=text_file)


@pytest.fixture
def compared(tiny_folder: Path, text_file: Path, home: Path) -> Compared:
    """The flow of small comparisons of the tiny model."""
    return partial(small_comparison.compared, tiny_folder, text_file)


@pytest.fixture
def pruned(cli: CommandLine, tmp_path: Path) -> Path:
    """The tiny model, 60 % by magnitude on its text, as the command saves it."""
    out = tmp_path / "pruned"
    # Windows long enough for n-grams, by which a later command knows what the model has seen.
    cli(f"{PRUNE} --metric magnitude --statistics sequential --seqlen 96 --out {out}")
    return out


@pytest.fixture
def migrated(home: Path, prefect_template: Path) -> Path:
    """The same folder with a database of Prefect, of which a recorded command needs one."""
    place = State.open(home).prefect
    place.mkdir()
    shutil.copy(prefect_template, place / prefect_template.name)
    return home
