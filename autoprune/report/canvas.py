"""A matplotlib figure in house style that becomes PNG bytes, and figures for people.

Colours are the Okabe-Ito set, which people with any colour vision can tell apart.
"""

import io
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from autoprune.plain_text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    "path.simplify": True,
}
_DOTS_PER_INCH = 160
# matplotlib's settings are global to the process, and reports are drawn from worker threads.
_LOCK = threading.Lock()


class Canvas:
    """One figure."""

    def __init__(self, figure: "Figure") -> None:
        self.figure = figure

    def axes(self, *, grid: Literal["x", "y"] | None = "y") -> "Axes":
        """The only axes of the figure, with light grid lines along one direction."""
        axes = self.figure.add_subplot()
        if grid:
            axes.grid(axis=grid)
        axes.tick_params(length=0)
        return axes

    def png(self) -> bytes:
        """PNG on white, 160 dots per inch."""
        stream = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
            self._save(stream)
        return stream.getvalue()

    def _save(self, stream: io.BytesIO) -> None:
        self.figure.savefig(
            stream,
            format="png",
            dpi=_DOTS_PER_INCH,
            facecolor="white",
            bbox_inches="tight",
            pad_inches=0.06,
        )


@contextmanager
def new_canvas(height: float, width: float = 7.2) -> Iterator[Canvas]:
    """Canvas in house style; sizes in inches."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _LOCK, matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield Canvas(figure)


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
