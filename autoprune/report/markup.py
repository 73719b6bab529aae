"""Templates of the page and of its graph; every value is escaped and made printable."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from autoprune.plain_text import printable
from autoprune.report.canvas import asked, number, percent, plain
from autoprune.report.data import RunReport
from autoprune.report.graph_svg import drawings


def template(name: str) -> Template:
    """One template by its file name."""
    return _environment().get_template(name)


def asset(*names: str) -> Markup:
    """Files next to the templates, one after another."""
    folder = Path(__file__).parent / "templates"
    return Markup("".join((folder / name).read_text(encoding="utf-8") for name in names))


def graph_picture(report: RunReport) -> str:
    """What the page's graph shows first, as a separate SVG file; empty if there are no nodes.

    The same drawing in the same colours, for MLflow and for Prefect's page.
    """
    first = next(iter(drawings(report)), None)
    if first is None:
        return ""
    return str(template("graph.svg.j2").module.dag(first, style=asset("colours.css", "graph.css")))  # type: ignore[attr-defined]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("autoprune.report"),
        autoescape=True,
        # Escape sequences and bidi controls take effect without any markup.
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["percent"] = percent
    environment.filters["asked"] = asked
    environment.filters["plain"] = plain
    return environment
