"""A run as one markdown page for Prefect's UI: words, small pictures, the graph as mermaid."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.run_files import RunFiles
from tasks.state import without_machine_paths

if TYPE_CHECKING:
    from autoprune.report.data import Entry, RunReport

# Of the whole page; the pictures share what the words leave.
LARGEST_PAGE = 500_000
LARGEST_PICTURE = 110_000
COLOURS = 64
ROWS = 10
# The graph is drawn by mermaid; its picture is large and would say the same.
PICTURES = {
    "pareto": "Perplexity against sparsity",
    "progress": "Perplexity by candidate, rejections below",
    "leaderboard": "The leaderboard",
    "layers": "Zeros by block",
}


def run_markdown(report: "RunReport", files: RunFiles, mlflow_place: str) -> str:
    """The page.

    Args:
        report: The run's record.
        files: Where its pictures lie.
        mlflow_place: Where the run is in MLflow, as markdown; empty when it is not there.

    Returns:
        Markdown without raw HTML and this machine's paths, under 500,000 bytes.
    """
    from autoprune.report.mermaid import reasoning_mermaid
    from autoprune.report.words import rejections, summary, trust

    parts = [f"# {_plain(report.run_id)}", *summary(report), _table(report), *trust(report)]
    winner = report.winner
    if winner is not None:
        parts.append(f"## Best recipe\n\n{_recipe(winner)}")
    turned_away = rejections(report)
    if turned_away:
        counts = ", ".join(f"{count} × `{code}`" for code, count, _ in turned_away)
        parts.append(f"Rejected: {counts}.")
    # Prefect's older pages show the graph as its source, so it comes after the pictures.
    graph = f"## Who was made from whom\n\n```mermaid\n{reasoning_mermaid(report)}\n```"
    tail = [graph, "## Where it lies", f"Full report: `{files.page}`"]
    if mlflow_place:
        tail.append(mlflow_place)
    tail += [f"{command.label}: `{command.text}`" for command in report.next_commands]
    # The state folder holds the runs folder, which holds this run's.
    root = files.folder.parent.parent
    parts, tail = ([without_machine_paths(one, root) for one in some] for some in (parts, tail))
    room = LARGEST_PAGE - len("\n\n".join([*parts, *tail]).encode()) - 1000
    pictures = []
    for name, title in PICTURES.items():
        path = files.plots / f"{name}.png"
        picture = picture_markdown(path, title) if path.is_file() else ""
        if picture and len(picture) < min(room, LARGEST_PICTURE):
            pictures.append(picture)
            room -= len(picture)
    return "\n\n".join([*parts, *pictures, *tail])


def picture_markdown(path: Path, title: str) -> str:
    """A picture inside markdown, its colours reduced so that it takes a third of the room."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    stream = io.BytesIO()
    small.save(stream, "PNG", optimize=True)
    data = base64.b64encode(stream.getvalue()).decode()
    return f"### {title}\n\n![{title}](data:image/png;base64,{data})"


def _table(report: "RunReport") -> str:
    from autoprune.report.canvas import number, percent
    from autoprune.report.words import sealed_figure

    lines = [
        "| # | candidate | perplexity | vs Wanda | sealed | formula |",
        "|--:|---|--:|--:|--:|---|",
    ]
    for entry in report.ranked[:ROWS]:
        cells = (
            str(entry.rank or ""),
            _plain(entry.alias),
            number(entry.perplexity),
            percent(entry.change_vs_wanda, sign=True),
            sealed_figure(entry),
            f"`{_plain(entry.formula)}` {_plain(entry.allocation)}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _recipe(winner: "Entry") -> str:
    said = [
        f"**{_plain(winner.alias)}**: compares by {winner.group}, "
        f"budget {_plain(winner.allocation)}, repair {_plain(winner.solver)}.",
        f"```\n{winner.formula.replace('```', '')}\n```",
    ]
    if winner.reasoning:
        said.append(f"> {_plain(winner.reasoning, 600)}")
    return "\n\n".join(said)


def _plain(text: str, limit: int = 80) -> str:
    """Text that ends no cell, opens no tag and no code."""
    line = " ".join(text.split())
    line = line if len(line) <= limit else line[: limit - 1] + "…"
    return line.replace("|", "\\|").replace("<", "‹").replace("`", "'")
