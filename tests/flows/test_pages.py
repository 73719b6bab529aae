"""What the manual tells people to type is what the commands take."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from flows.cli.parser import parse
from flows.nightly.params import NightlyParams
from flows.search.params import SearchParams

DOCS = Path(__file__).parent.parent.parent / "docs"
# The commands of the results are those of the versions that made them.
PAGES = sorted({path.name for path in DOCS.glob("*.md")} - {"results.md"})
OF_TASKS = {"make-smaller.md", "compare-on-my-text.md", "every-night.md", "agents.md"}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_understood(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8").replace("\\\n", " ")
    typed = re.findall(r"^(?:\$ )?autoprune (.+)$", text, re.MULTILINE)
    typed += re.findall(r"\| `autoprune ([^`]+)` \|", text)
    assert typed or page not in OF_TASKS
    for words in typed:
        parse(shlex.split(words, comments=True))


def test_the_nights_file_is_a_search() -> None:
    (block,) = re.findall(r"```yaml\n(.+?)```", (DOCS / "every-night.md").read_text(), re.DOTALL)
    values = yaml.safe_load(block)
    assert SearchParams.model_validate(values).minutes == 120
    assert NightlyParams.model_validate({"search": values}).search.sandbox == "off"
