"""A run as one Markdown page, and the same page as one HTML file.

Formulas, reasoning and error texts come from a language model and count as hostile. Every value
that the template prints is escaped for Markdown, the converter passes no HTML through, and the
content security policy of the file allows no script and no address.
"""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache, partial
from html import escape
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markdown_it import MarkdownIt
from markupsafe import Markup

from autoprune.plain_text import in_code, in_fence, in_markdown, one_line, printable
from autoprune.report import sentences
from autoprune.report.canvas import number, percent
from autoprune.report.data import ReportEntry, RunReport
from autoprune.report.leaderboard import in_order, shown_left_out, shown_verdict
from autoprune.report.origin import author
from autoprune.storage import write_text

# Prefect's UI shows a page of this size; the pictures share what the text leaves.
LARGEST_PAGE = 500_000
ROWS = 100
REASONS = 30
_SETTINGS = 20_000
_COLOURS = 64
TITLES = {
    "graph": "The reasoning graph",
    "pareto": "Perplexity against sparsity",
    "progress": "Perplexity by candidate, rejections below",
    "leaderboard": "The leaderboard",
    "layers": "Zeros by block",
    "inspection": "The model before pruning: nats per token added by each kind or block alone",
}
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;
color-scheme:light dark}
img{max-width:100%;background:#fff}pre,table{display:block;overflow-x:auto}
td,th{padding:.2rem .6rem;border-bottom:1px solid #8884}
"""


def page(report: RunReport, pictures: Mapping[str, bytes], places: Sequence[str] = ()) -> str:
    """The page as Markdown, under 500 kB.

    Args:
        pictures: PNG by name; see ``TITLES``.
        places: Markdown lines on where the run's files are.
    """
    found = in_order(report)
    winner = report.winner
    text = partial(
        _template().render,
        report=report,
        winner=winner,
        summary=sentences.summary(report),
        trust=sentences.trust(report),
        shown=found[:ROWS],
        more=max(0, len(found) - ROWS),
        reasons=[entry for entry in found if entry.reasoning and entry is not winner][:REASONS],
        rejections=sentences.rejections(report),
        settings=json.dumps(report.spec, indent=2, sort_keys=True, ensure_ascii=False, default=str)[
            :_SETTINGS
        ],
        places=[Markup(line) for line in places],
        author=partial(author, report),
        interval=sentences.interval,
        sealed=sentences.sealed_figure,
        verdict=shown_verdict,
        left_out=shown_left_out,
        front=_front,
        rung=_rung,
    )
    room = LARGEST_PAGE - len(text(pictures=()).encode()) - 1000
    embedded = []
    for name, title in TITLES.items():
        address = embed(pictures[name]) if name in pictures else ""
        if address and len(address) < room:
            embedded.append((title, Markup(address)))
            room -= len(address)
    return text(pictures=embedded)


def picture(title: str, png: bytes) -> str:
    """A picture under its title, as Markdown."""
    return f"### {title}\n\n![{title}]({embed(png)})"


# A search shows its page after every few steps, and most pictures stay.
@lru_cache(maxsize=32)
def embed(png: bytes) -> str:
    """Address that holds a picture, with fewer colours so that it takes a third of the space."""
    from PIL import Image

    stream = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        small = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    small.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def html(title: str, markdown: str) -> str:
    """A page as one HTML file that needs nothing else and can act on nothing."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(one_line(title, 80))}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}</body></html>\n"
    )


def write_html(path: Path, title: str, markdown: str) -> None:
    """Write :func:`html`, atomically."""
    write_text(path, html(title, markdown))


def _front(entry: ReportEntry) -> str:
    return "fastest of its quality" if entry.front else ""


def _rung(entry: ReportEntry, name: str) -> str:
    return sentences.rung_text(name, entry.left_out * (name == entry.masks_alone))


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("autoprune.report"),
        finalize=lambda value: in_markdown(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "share": partial(percent, digits=2),
        "change": partial(percent, sign=True),
        "duration": sentences.duration,
        "line": lambda text, limit: Markup(in_markdown(text, limit)),
        "note": lambda text: Markup(f" ({in_markdown(text, 80)})" if text else ""),
        "code": lambda text, limit=None: Markup(in_code(text, limit).replace("|", "\\|")),
        "fence": lambda text: Markup(in_fence(printable(text))),
    }
    return environment.get_template("page.md.j2")
