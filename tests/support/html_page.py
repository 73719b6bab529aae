"""A report's page as a parser sees it, and the check that nothing in it can act."""

import base64
import json
import re
import zlib
from html.parser import HTMLParser
from typing import Any

TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "div",
    "p", "h1", "h2", "h3", "span", "b", "small", "code", "pre", "time", "dl", "dt", "dd", "table",
    "caption", "thead", "tbody", "tr", "th", "td", "label", "input", "button", "figure", "details",
    "figcaption", "summary", "blockquote", "ul", "li", "wbr", "script", "svg", "g", "path", "rect",
    "circle", "text",
    "defs", "use", "clippath", "math", "mrow", "mi", "mn", "mo", "msup", "msub", "msubsup", "mfrac",
    "msqrt", "mover", "mtext", "mspace",
}  # fmt: skip


class Page(HTMLParser):
    """Everything in a page that could act: tags, attributes, scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.words.append(data)


def assert_inert(text: str) -> None:
    page = Page(text)
    assert {tag for tag, _ in page.tags} <= TAGS
    assert len(page.scripts) == 2
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert not {"src", "srcdoc", "action", "formaction"} & set(attributes)
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    for css in re.findall(r"url\(([^)]*)\)", text):
        assert css.startswith("#")
    assert "@import" not in text


def packed(text: str) -> list[dict[str, Any]]:
    data = Page(text).scripts[0]
    details: list[dict[str, Any]] = json.loads(zlib.decompress(base64.b64decode(data)))
    return details
