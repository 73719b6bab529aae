"""A refusal in parts: property, line, expected, got, remedy."""

import pytest

from sandbox.codes import MEANINGS, PROPERTIES, Code
from sandbox.explain import explain
from sandbox.outcomes import Rejected
from sandbox.screen import screen

SOURCE = "import torch\n\n\ndef score(W, stats, params):\n    m = W.abs()\n    return m.double()\n"


def test_every_code_names_its_property() -> None:
    assert set(PROPERTIES) == set(MEANINGS) == set(Code)


def test_what_came_back_points_at_the_return() -> None:
    detail = "score returned torch.float64; return torch.float32 (add .float() at the end)"
    found = explain(Rejected(Code.WRONG_DTYPE, detail, 0.1), SOURCE)
    assert (found.property, found.line, found.text) == ("dtype", 6, "return m.double()")
    assert found.expected == "torch.float32"
    assert found.got == "score returned torch.float64"
    assert found.remedy == "return torch.float32 (add .float() at the end)"


def test_an_exception_keeps_its_own_line() -> None:
    found = explain(Rejected(Code.EXCEPTION, "line 5: ValueError: no", 0.1), SOURCE)
    assert (found.line, found.text, found.got) == (5, "m = W.abs()", "ValueError: no")
    assert found.remedy == ""


@pytest.mark.parametrize("code", [Code.TIMEOUT, Code.OOM, Code.KILLED])
def test_what_has_no_line_gets_none(code: Code) -> None:
    assert explain(Rejected(code, "not done after 10 s", 0.1), SOURCE).line is None


@pytest.mark.parametrize("source", ["", "(", "x = 1", "\x00", "def score(:\n", "(" * 5000])
def test_any_source_can_be_explained(source: str) -> None:
    refusal = screen(source)
    assert refusal is not None
    found = explain(refusal, source)
    assert found.expected and found.got
    assert found.text.isprintable()


def test_hostile_lines_are_printable_and_short() -> None:
    source = "import os\x1b[31m" + "x" * 500
    found = explain(Rejected(Code.SCREEN_IMPORT, "line 1: import of 'os'", 0.1), source)
    assert found.text.isprintable()
    assert len(found.text) <= 160
