"""A page as a parser sees it, and the check that nothing in it can act."""

import re
from html.parser import HTMLParser

TAGS = {
    "html", "head", "meta", "title", "style", "body", "p", "h1", "h2", "h3", "b", "strong", "em",
    "code", "pre", "table", "thead", "tbody", "tr", "th", "td", "blockquote", "ul", "ol", "li",
    "img", "br", "hr",
}  # fmt: skip


class Page(HTMLParser):
    """Everything in a page that could act: tags and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def assert_inert(text: str) -> None:
    page = Page(text)
    assert {tag for tag, _ in page.tags} <= TAGS
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert not {"srcdoc", "srcset", "href", "action", "formaction"} & set(attributes)
        assert (attributes.get("src") or "data:image/png;base64,").startswith(
            "data:image/png;base64,"
        )
    assert not re.search(r"url\(|@import", text.partition("</style>")[0])
