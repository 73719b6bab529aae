"""A run as one markdown page for Prefect's UI: text and small pictures."""

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autoprune.plain_text import in_code, in_fence, in_markdown
from autoprune.report.canvas import number, percent
from autoprune.report.markup import graph_picture
from autoprune.report.origin import author
from autoprune.report.sentences import rejections, sealed_figure, summary, trust
from tasks.run_files import RunFiles
from tasks.state import without_machine_paths

if TYPE_CHECKING:
    from autoprune.report.data import ReportEntry, RunReport

# Size limit of the whole page; the pictures share what the text leaves.
LARGEST_PAGE = 500_000
LARGEST_PICTURE = 110_000
COLOURS = 64
ROWS = 10
PICTURES = {
    "pareto": "Perplexity against sparsity",
    "progress": "Perplexity by candidate, rejections below",
    "leaderboard": "The leaderboard",
    "layers": "Zeros by block",
}


def run_markdown(report: "RunReport", files: RunFiles, mlflow_place: str) -> str:
    """Write the page."""
    sentences, doubts = (map(in_markdown, words) for words in (summary(report), trust(report)))
    parts = [f"# {in_markdown(report.run_id, 80)}", *sentences, _table(report), *doubts]
    winner = report.winner
    if winner is not None:
        parts.append(f"## Best recipe\n\n{_recipe(report, winner)}")
    turned_away = rejections(report)
    if turned_away:
        counts = ", ".join(f"{count} × `{code}`" for code, count, _ in turned_away)
        parts.append(f"Rejected: {counts}.")
    tail = ["## Where it lies", f"Full report: `{files.page}`"]
    if mlflow_place:
        tail.append(mlflow_place)
    tail += [f"{command.label}: {in_code(command.text)}" for command in report.next_commands]
    # The state folder holds the runs folder, which holds this run's.
    root = files.folder.parent.parent
    parts, tail = ([without_machine_paths(one, root) for one in some] for some in (parts, tail))
    # Before the drawing truncates them, which would leave half a path.
    nodes = (replace(n, label=without_machine_paths(n.label, root)) for n in report.nodes)
    graph = graph_picture(replace(report, nodes=tuple(nodes)))
    if graph:
        tail.insert(0, _embedded("The reasoning graph", "svg+xml", graph.encode()))
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
    """Embed a picture in markdown, with fewer colours so that it takes a third of the space."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    stream = io.BytesIO()
    small.save(stream, "PNG", optimize=True)
    return _embedded(title, "png", stream.getvalue())


def _embedded(title: str, kind: str, data: bytes) -> str:
    text = base64.b64encode(data).decode()
    return f"### {title}\n\n![{title}](data:image/{kind};base64,{text})"


def _table(report: "RunReport") -> str:
    lines = [
        f"| # | candidate | perplexity | vs {in_markdown(report.reference_name, 40)} | sealed "
        "| formula |",
        "|--:|---|--:|--:|--:|---|",
    ]
    for entry in report.ranked[:ROWS]:
        cells = (
            str(entry.rank or ""),
            in_markdown(entry.alias, 80),
            number(entry.perplexity),
            percent(entry.change_vs_wanda, sign=True),
            sealed_figure(entry),
            in_code(entry.formula, 80).replace("|", "\\|")
            + f" {in_markdown(entry.allocation, 80)}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _recipe(report: "RunReport", winner: "ReportEntry") -> str:
    lines = [
        f"Written by {in_markdown(author(report, winner))}.",
        f"**{in_markdown(winner.alias, 80)}**: compares by {winner.group}, "
        f"budget {in_markdown(winner.allocation, 80)}, repair {in_markdown(winner.solver, 80)}.",
        in_fence(winner.formula),
    ]
    if winner.reasoning:
        lines.append(f"> {in_markdown(winner.reasoning, 600)}")
    return "\n\n".join(lines)
