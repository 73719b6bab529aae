"""What the pages of tasks tell people to type is what the commands take."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from flows.cli.parser import parse
from flows.params import NightlyParams, SearchParams

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = ("make-smaller.md", "compare-on-my-text.md", "every-night.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_understood(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    typed = re.findall(r"^\$ autoprune (.+)$", text, re.MULTILINE)
    typed += re.findall(r"\| `autoprune (.+?)` \|", text)
    assert typed
    for words in typed:
        parse(shlex.split(words))


def test_the_nights_file_is_a_search() -> None:
    (block,) = re.findall(r"```yaml\n(.+?)```", (DOCS / PAGES[2]).read_text(), re.DOTALL)
    values = yaml.safe_load(block)
    assert SearchParams.model_validate(values).minutes == 120
    assert NightlyParams.model_validate({"search": values}).search.sandbox == "off"
