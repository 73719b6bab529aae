"""The house rules that a machine can check: short files, speaking names, no machine paths."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST_FILE = 400
VAGUE_NAMES = {"utils", "helpers", "manager", "common", "misc", "util", "helper"}


def tracked_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).exists()]


SOURCES = [path for path in tracked_files() if path.suffix in {".py", ".sh", ".j2"}]
TEXTS = [
    path
    for path in tracked_files()
    if path.suffix in {".py", ".sh", ".j2", ".md", ".toml", ".yaml", ".yml", ".txt", ".html"}
]


def test_sources_are_found() -> None:
    assert len(SOURCES) > 50


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_short_and_well_named(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST_FILE, f"{path} has {lines} lines; split it by subject"
    assert path.stem not in VAGUE_NAMES, f"{path}: name the subject"


def test_no_machine_paths() -> None:
    # Spelled in two parts so that this file does not find itself.
    pattern = re.compile(r"/(?:work" + r"/|root" + r"/|home/[a-z])")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in TEXTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found


def test_tests_share_code_by_a_package_alone() -> None:
    # Neither another test's module nor a folder put on the path: both hang on where pytest starts.
    pattern = re.compile(r"^\s*(?:from|import) test_|^\s*sys\.path\.", re.MULTILINE)
    texts = {path: path.read_text(encoding="utf-8") for path in SOURCES if "tests" in path.parts}
    assert len(texts) > 50
    assert [str(path) for path, text in texts.items() if pattern.search(text)] == []


def test_the_map_names_every_room_and_only_files_that_exist() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = text.partition("| room of `autoprune` |")[2].partition("##")[0]
    named = {name for name in re.findall(r"`(\w+)`", table) if name.islower()}
    rooms = {path.parent.name for path in (ROOT / "autoprune").glob("*/__init__.py")}
    assert rooms - named == set()
    files = re.findall(r"`([\w/]+\.py)`", text)
    places = [ROOT, ROOT / "autoprune", ROOT / "autoprune" / "evaluation", ROOT / "flows"]
    assert [f for f in files if not any((place / f).is_file() for place in places)] == []
