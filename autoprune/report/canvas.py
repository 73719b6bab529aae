"""A matplotlib figure that becomes PNG bytes or an SVG that follows the page's colours.

Colours are the Okabe-Ito set, which people with any colour vision can tell apart. In SVG each
colour is rewritten to a CSS variable, so one drawing serves light and dark pages.
"""

import io
import math
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal
from xml.sax.saxutils import escape

from autoprune.plain_text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Size = Literal["wide", "narrow"]

INK = "#1b1f24"
MUTED = "#697280"
LINE = "#dfe3e8"
PAPER = "#fffffe"
BLUE = "#0072b2"
SKY = "#56b4e9"
GREEN = "#009e73"
ORANGE = "#e69f00"
RED = "#d55e00"
PINK = "#cc79a7"

# Every colour here has a counterpart in colours.css, for light and for dark pages.
CSS_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    PAPER: "--card",
    BLUE: "--blue",
    SKY: "--sky",
    GREEN: "--green",
    ORANGE: "--orange",
    RED: "--red",
    PINK: "--pink",
}

_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "autoprune",
    "path.simplify": True,
}
_DOTS_PER_INCH = 160
# matplotlib's settings are global to the process, and reports are drawn from worker threads.
_LOCK = threading.Lock()


class Canvas:
    """One figure with room for tooltips.

    Args:
        figure: Empty figure to draw on.
        size: ``wide`` for README and desktop, ``narrow`` for phones.
    """

    def __init__(self, figure: "Figure", size: Size) -> None:
        self.figure = figure
        self.narrow = size == "narrow"
        self._tips: dict[str, str] = {}

    def axes(self, *, grid: Literal["x", "y"] | None = "y") -> "Axes":
        """The only axes of the figure, with light grid lines along one direction."""
        axes = self.figure.add_subplot()
        if grid:
            axes.grid(axis=grid)
        axes.tick_params(length=0)
        return axes

    def tip(self, artist: Any, text: str) -> None:
        """Show ``text`` when the pointer rests on ``artist``; only SVG has this."""
        key = f"tip{len(self._tips)}"
        artist.set_gid(key)
        self._tips[key] = "\n".join(plain(line, 200) for line in text.splitlines()[:6])

    def png(self) -> bytes:
        """PNG on white, 160 dots per inch."""
        stream = io.BytesIO()
        self._save(stream, format="png", dpi=_DOTS_PER_INCH, facecolor="white")
        return stream.getvalue()

    def svg(self, name: str, alt: str) -> str:
        """SVG element for use inside HTML."""
        stream = io.StringIO()
        with warnings.catch_warnings():
            # Glyphs missing from matplotlib's font are drawn with the browser's fonts.
            warnings.simplefilter("ignore", UserWarning)
            self._save(stream, format="svg", transparent=True, metadata={"Date": None})
        text = stream.getvalue()
        text = text[text.index("<svg") :]
        # Its style element would affect the whole page.
        text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
        text = text.replace("xlink:href", "href")
        for key, tip in self._tips.items():
            text = text.replace(f'<g id="{key}">', f'<g id="{key}"><title>{escape(tip)}</title>', 1)
        text = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{name}-", text)
        for colour, variable in CSS_VARIABLES.items():
            text = text.replace(colour, f"var({variable})")
        text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--sans)", text)
        label = escape(plain(alt, 600), {'"': "&quot;"})
        head = f'<svg class="plot" role="img" aria-label="{label}" viewBox='
        return re.sub(r"<svg [^>]*?viewBox=", lambda _: head, text, count=1).strip()

    def _save(self, stream: Any, **options: Any) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
            self.figure.savefig(stream, bbox_inches="tight", pad_inches=0.06, **options)


@contextmanager
def new_canvas(size: Size, height: float, narrow_height: float | None = None) -> Iterator[Canvas]:
    """Canvas in house style."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _LOCK, matplotlib.rc_context(_STYLE):
        if size == "narrow":
            figure = Figure(figsize=(3.7, narrow_height or height), layout="constrained")
        else:
            figure = Figure(figsize=(7.2, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield Canvas(figure, size)


def whole_numbers(axes: "Axes") -> None:
    """Ticks of the x axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def plain(text: str, limit: int) -> str:
    """One printable line of at most ``limit`` characters."""
    line = printable(text).translate({ord("\n"): " ", ord("\t"): " "}).strip()
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def number(value: float | None) -> str:
    """Perplexity for people: three or four significant digits."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not finite"
    if abs(value) >= 1e5:
        return f"{value:.1e}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percent(value: float | None, *, sign: bool = False, digits: int = 1) -> str:
    """A share as a percentage, with a proper minus sign."""
    if value is None or not math.isfinite(value):
        return "–"
    digits = 0 if abs(value) >= 10 else digits
    value = round(value, digits + 2) + 0.0  # no minus before a zero
    text = f"{value * 100:+,.{digits}f} %" if sign and value else f"{value * 100:.{digits}f} %"
    return text.replace("-", "−")


def asked(share: float | None) -> str:
    """A share that was asked for as a percentage, with all of its digits."""
    return "–" if share is None else f"{100 * share:g} %"


def short_model(reference: str) -> str:
    """Name of a model without its folder or package."""
    return plain(reference.rstrip("/").rpartition("/")[2] or reference, 80)
