"""The comparison as Markdown and LaTeX."""

from autoprune.comparison.formatting import (
    change,
    exact_zeros,
    figure,
    measure,
    megabytes,
    protocol_lines,
    seconds,
    short_change,
    unavailable,
    with_deviation,
)
from autoprune.comparison.measured import OK
from autoprune.comparison.result import Comparison
from autoprune.plain_text import in_markdown

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "–": "--",
}


def overview(result: Comparison) -> list[list[str]]:
    """Tabulate methods by budget: perplexity, deviation and change; the dense model first."""
    lines = [["dense", *[figure(result.dense)] * len(result.targets)]]
    for method in result.methods:
        cells = []
        for target in result.targets:
            row = result.row(method, target)
            found = (
                [with_deviation(row, result.draws), short_change(row, result.baseline)]
                if row
                else ["–"]
            )
            cells.append(" ".join(filter(None, found)))
        lines.append([method, *cells])
    return lines


def details(result: Comparison, target: str) -> tuple[list[str], list[list[str]]]:
    """Return head and lines of one budget's table with all figures, lowest perplexity first.

    There is a column for each baseline and each suite figure; the dense model comes first.
    """
    against = [f"against {name}" for name in result.baselines]
    head = ["method", "sealed perplexity", *against, *result.columns, "selection", "zeros"]
    head += ["MB dense → compact", "seconds (shared statistics apart)", "trials", "measured as"]
    rows = [row for row in result.rows if row.target == target and row.status == OK]
    rows.sort(key=lambda row: float("inf") if row.perplexity is None else row.perplexity)
    dense = {entry.column: entry for entry in result.dense_measures}
    size = megabytes(result.dense_bytes, result.dense_bytes)
    lines = [["dense", figure(result.dense), *["–"] * len(against)]]
    lines[0] += [*(measure(dense.get(name)) for name in result.columns), "–", "0", size]
    lines[0] += ["–"] * 3
    for row in rows:
        found = {entry.column: entry for entry in row.measures}
        lines.append(
            [
                row.method,
                with_deviation(row, result.draws),
                *(change(row, entry) for entry in row.contrasts),
                *(measure(found.get(name)) for name in result.columns),
                figure(row.selection),
                exact_zeros(row),
                megabytes(row.dense_bytes, row.compact_bytes),
                seconds(row.prune_seconds),
                str(row.trials),
                row.measured_as or "",
            ]
        )
    return head, lines


def markdown(result: Comparison) -> str:
    """Render the whole comparison as Markdown."""
    parts = [f"# Comparison of pruning methods: {in_markdown(result.model)}", ""]
    parts += [
        f"Sealed perplexity, lower is better; in brackets the change against "
        f"{result.baseline}, ≈ where the corrected p shows none.",
        "",
    ]
    head = ["method", *result.targets]
    body = [
        [
            line[0],
            *(
                _bold(text, result, line[0], t)
                for text, t in zip(line[1:], result.targets, strict=True)
            ),
        ]
        for line in overview(result)
    ]
    parts += [*_table(head, body), "", "## Recommendation", ""]
    parts += [f"- {entry.text}" for entry in result.advice]
    for target in result.targets:
        parts += ["", f"## {target}", "", *_table(*details(result, target))]
    missing = unavailable(result)
    if missing:
        parts += ["", "## Without a figure", "", *(f"- {in_markdown(line)}" for line in missing)]
    parts += ["", "## Protocol", ""]
    parts += [f"- {name}: {value}" for name, value in protocol_lines(result)]
    parts += ["", "## Command", "", "```", result.command, "```"]
    return "\n".join(parts) + "\n"


def latex(result: Comparison) -> str:
    """Render the overview as a LaTeX table, which needs the package booktabs."""
    columns = "l" + "r" * len(result.targets)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_caption(result)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(escape(text) for text in ("method", *result.targets)) + r" \\",
        r"\midrule",
    ]
    for line in overview(result):
        cells = [escape(line[0])]
        for text, target in zip(line[1:], result.targets, strict=True):
            best = result.best(target) == line[0]
            cells.append(rf"\textbf{{{escape(text)}}}" if best else escape(text))
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Escape text for LaTeX."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _caption(result: Comparison) -> str:
    p = result.protocol
    return escape(
        f"Sealed perplexity of {result.model}: {p['sealed_windows']} windows of {p['seqlen']} "
        f"tokens of {p['corpus']}, {p['dtype']}, {p['seeds']} calibration draws of "
        f"{p['calibration_windows']} windows; in brackets the change against {result.baseline}, "
        "≈ where the corrected p shows none; bold: lowest on the selection windows."
    )


def _bold(text: str, result: Comparison, method: str, target: str) -> str:
    return f"**{text}**" if result.best(target) == method else text


def _table(head: list[str], body: list[list[str]]) -> list[str]:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join("---" if i == 0 else "---:" for i in range(len(head))) + "|"
    return [line(head), rule, *(line(cells) for cells in body)]
