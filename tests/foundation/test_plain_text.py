"""Text of others reaches a terminal, markdown and JSON without anything that acts."""

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from autoprune.plain_text import (
    in_code,
    in_fence,
    in_json,
    in_markdown,
    one_line,
    printable,
    shell_line,
)

HOSTILE = (
    "![a](http://evil.example/a.png) <img src=http://evil.example/b.png> ![b][c] [x](http://e/) "
    "\\![d](http://evil.example/d.png) \\[e\\](http://e/) `` ` ``` <a href='//e'>t</a> | cell "
    "\x1b[2J\x1b]0;title\x07\x1b]8;;http://evil.example\x1b\\shown\x1b]8;;\x1b\\ \x9b31m "
    "\u202ereversed\u2066\u200b\ufeff\U000e0041\ud800\x00\r\nsecond\n\n[c]: http://evil.example/c.png"
)
TAGS = ("<img", "<a ", "<a>", "<h1", "<table")


def rendered(text: str) -> str:
    """As a reader's page renders it, with every extension that loads or links."""
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return str(page)


def test_the_renderer_would_load_it() -> None:
    page = rendered(HOSTILE)
    assert "<img" in page and "<a " in page


def test_no_escape_sequence_or_bidi_control_is_printed() -> None:
    shown = printable(HOSTILE)
    assert len(shown) == len(HOSTILE) and shown.count("\n") == 3
    assert all(mark.isprintable() or mark == "\n" for mark in shown)
    assert one_line(HOSTILE).isprintable() and "\n" not in one_line(HOSTILE)
    assert printable("ü 模型 ✓\tx\n") == "ü 模型 ✓\tx\n"


@pytest.mark.parametrize("text", [HOSTILE, HOSTILE[::-1], "[" * 9 + "]" * 9, "\\" * 7 + "[x](y)"])
def test_markdown_shows_it_and_does_nothing(text: str) -> None:
    for inside in (f"> {in_markdown(text)}", f"| {in_markdown(text)} |\n|---|\n| x |"):
        page = rendered(inside)
        assert "<img" not in page and "<a " not in page
    assert "<img" not in rendered(in_code(text)) and "<a " not in rendered(in_code(text))
    page = rendered(f"{in_fence(text)}\n\nafter")
    assert page.startswith("<pre><code>") and page.endswith("</code></pre>\n<p>after</p>\n")


@given(st.text(alphabet="!<>[]()`\\|a:/ \n", max_size=40))
def test_no_text_becomes_a_picture_or_a_link(text: str) -> None:
    page = rendered(f"before {in_markdown(text)} after")
    assert not any(tag in page for tag in TAGS)


def test_a_limit_counts_what_is_seen() -> None:
    assert one_line("abc def", 5) == "abc…" and one_line(" a\n b ", 5) == "a b"
    assert in_markdown("[[[[[[", 3) == "\\[\\[…"


@given(st.text())
def test_json_says_the_same_in_printable_letters(text: str) -> None:
    whole = json.dumps({"name": text}, ensure_ascii=False)
    safe = in_json(whole)
    assert safe.isprintable() and json.loads(safe) == json.loads(whole)


def test_json_escapes_what_is_not_seen() -> None:
    whole = json.dumps({"name": HOSTILE}, ensure_ascii=False, indent=2)
    safe = in_json(whole)
    assert all(mark.isprintable() or mark == "\n" for mark in safe)
    assert json.loads(safe)["name"] == HOSTILE


def test_a_shell_reads_the_words_of_an_advised_command_again() -> None:
    line = shell_line("evaluate", "my model", "--live-file", Path("a'b"), "--windows", 4)
    assert shlex.split(line)[1:] == ["evaluate", "my model", "--live-file", "a'b", "--windows", "4"]
