"""The Wikipedia sample in the gensim wheel: located without importing gensim, markup stripped."""

import bz2
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from autoprune.errors import DamagedFileError, PrerequisiteError

_SAMPLE = "test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"

# Lists of links and sources are not prose, and are repeated across articles.
_BACK_MATTER = {
    "bibliography",
    "citations",
    "external links",
    "footnotes",
    "further reading",
    "notes",
    "notes and references",
    "references",
    "see also",
    "sources",
    "works cited",
}
_NOT_PROSE = {"ref", "table", "gallery", "math", "timeline", "imagemap", "code", "source", "score"}
_SECTION = re.compile(r"^==(?!=)\s*(.*?)\s*(?<!=)==\s*$", re.MULTILINE)
_MEDIA = re.compile(r"\s*:?(file|image|category|[a-z]{2,3}|[a-z]+-[a-z-]+)\s*:", re.IGNORECASE)
_SHORTEST = 1500
# The parser keeps unclosed markup as text; removed templates leave empty brackets.
_LEFTOVERS = [
    (re.compile(r"<ref\b[^>]*>.*?(</ref>|\n)", re.DOTALL), " "),
    (re.compile(r"</?[a-z]+\b[^<>]*>"), " "),
    (re.compile(r"^\s*(\{\||\||!|\{\{|\}\}).*$", re.MULTILINE), ""),
    (re.compile(r"\[\[(?:[^\[\]|\n]*\|)?([^\[\]\n]*)\]\]"), r"\1"),
    (re.compile(r"\{\{.*?(\}\}|\n)"), ""),
    (re.compile(r"\([\s,;:]*\)|'{2,}"), ""),
    (re.compile(r"^[*#:;]+\s*", re.MULTILINE), ""),
    (re.compile(r"[ \t\xa0]+"), " "),
    (re.compile(r" +([,.;:)])"), r"\1"),
]


def sample_file() -> Path:
    """Path of the compressed dump inside the installed wheel."""
    spec = find_spec("gensim")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / _SAMPLE
        if path.is_file():
            return path
    raise PrerequisiteError(
        "the corpus 'wikipedia-sample' is in the gensim wheel, which is not installed; "
        "`make install` installs it, or type: pip install --no-deps 'gensim>=4.3,<5'"
    )


def sample_articles(path: Path) -> Iterator[str]:
    """Plain text of all articles in a dump that are long enough to be prose."""
    for title, markup in _pages(path):
        text = strip_markup(markup)
        if len(text) >= _SHORTEST and "(disambiguation)" not in title:
            yield f"{title}\n\n{text}"


def strip_markup(markup: str) -> str:
    """Prose of an article, without templates, tables, references, media or back matter."""
    try:
        import mwparserfromhell
    except ImportError as error:
        raise PrerequisiteError(
            "stripping wiki markup needs mwparserfromhell; type: pip install 'autoprune[demo]'"
        ) from error
    code = mwparserfromhell.parse(_without_back_matter(markup))
    # Empty nodes in place: removing one searches the whole article for it.
    for tag in code.filter_tags():
        if str(tag.tag).lower() in _NOT_PROSE:
            tag.contents = ""
    for link in code.filter_wikilinks():
        if _MEDIA.match(str(link.title)):
            link.title, link.text = "", None
    return _tidy(code.strip_code(normalize=True, collapse=True))


def _without_back_matter(markup: str) -> str:
    # Parts alternate: lead, title, section, title, section, ...
    parts = _SECTION.split(markup)
    kept = [parts[0]]
    for title, section in zip(parts[1::2], parts[2::2], strict=True):
        if title.lower() not in _BACK_MATTER:
            kept.append(f"== {title} ==\n{section}")
    return "".join(kept)


def _tidy(text: str) -> str:
    for pattern, replacement in _LEFTOVERS:
        text = pattern.sub(replacement, text)
    lines = (line.strip() for line in text.split("\n"))
    return re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).strip()


def _pages(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with bz2.open(path) as stream:
            for _, page in ElementTree.iterparse(stream):
                if not page.tag.endswith("}page"):
                    continue
                space = page.tag.removesuffix("page")
                is_article = page.findtext(f"{space}ns") == "0"
                if is_article and page.find(f"{space}redirect") is None:
                    title = page.findtext(f"{space}title") or ""
                    yield title, page.findtext(f"{space}revision/{space}text") or ""
                page.clear()
    except (ElementTree.ParseError, OSError, EOFError) as error:
        raise DamagedFileError(
            f"{path} is damaged or not a compressed MediaWiki dump ({error}); install the package "
            "that holds it again"
        ) from error
