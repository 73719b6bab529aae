"""`make docs` builds the site without network, and its pages ask a browser for nothing outside."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Tags by which a browser fetches by itself; links wait for a click.
FETCHED = re.compile(r"<(?:script|img|iframe)\b[^>]*\ssrc=[\"']?(?:https?:)?//[^\"'\s>]+", re.I)
STYLES = re.compile(r"<link\b[^>]*\brel=[\"']?(?:stylesheet|preload|icon)\b[^>]*>", re.I)


def offline() -> list[str]:
    """What puts a command into a network of its own, where the machine lets it."""
    words = ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which(words[0]) is None:
        return []
    return words if subprocess.run([*words, "true"], capture_output=True).returncode == 0 else []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    place = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "docs", place / "docs")
    shutil.copy(ROOT / "mkdocs.yml", place)
    words = [*offline(), sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "site"


def test_every_page_of_the_menu_is_built(site: Path) -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    names = re.findall(r"([\w-]+)\.md", menu)
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert set(names) == pages and len(names) == len(pages)
    for name in names:
        page = site / "index.html" if name == "README" else site / name / "index.html"
        assert "<h1" in page.read_text(encoding="utf-8"), name


def test_a_page_asks_for_nothing_outside_of_the_site(site: Path) -> None:
    pages = [path.read_text(encoding="utf-8") for path in site.rglob("*.html")]
    assert pages
    for text in pages:
        assert FETCHED.findall(text) == []
        assert [one for one in STYLES.findall(text) if "//" in one] == []
