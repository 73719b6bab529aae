"""The picture: lines over several budgets, a ranking at one."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from autoprune.comparison import picture
from autoprune.comparison.result import gather
from autoprune.report.canvas import new_canvas
from tests.support.comparison_records import BASE, body, cell, record

FAR = [value + 5.0 for value in BASE]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Axes of what is drawn, real ones."""
    seen: list[Any] = []

    @contextmanager
    def keep(*words: Any) -> Iterator[Any]:
        with new_canvas(*words) as canvas:
            yield canvas
            seen.extend(canvas.figure.axes)

    monkeypatch.setattr(picture, "new_canvas", keep)
    return seen


def test_one_budget_is_a_ranking_with_the_best_on_top(drawn: list[Any]) -> None:
    made = {"wanda": BASE, "ria": [v + 0.2 for v in BASE], "sparsegpt": [v - 0.3 for v in BASE]}
    cells = [cell(name, record(nll, 1.0)) for name, nll in made.items()]
    png = picture.pareto_png(gather(body(*cells, cell("magnitude", record(FAR, 1.0)))))
    assert png.startswith(b"\x89PNG")
    (axes,) = drawn
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ria", "wanda", "sparsegpt"]
    assert "magnitude at 50 %" in axes.get_xlabel()
    best = math.exp(math.fsum(made["sparsegpt"]) / len(BASE))
    assert f"{best:.2f}" in {text.get_text() for text in axes.texts}


def test_several_budgets_are_lines_over_sparsity(drawn: list[Any]) -> None:
    other = {"sparsity": 0.75, "pattern": "unstructured"}
    cells = [cell("wanda", record(BASE, 1.0)), cell("wanda", record(BASE, 1.0), target=other)]
    picture.pareto_png(gather(body(*cells)))
    (axes,) = drawn
    assert list(axes.get_xticks()) == [50.0, 75.0]


@pytest.mark.parametrize(
    ("unit", "amounts", "ticks", "label"),
    [
        ("bytes", (0.1, 0.25), [10.0, 25.0], "fewer bytes than the dense model, %"),
        ("faster", (1.2, 1.5), [1.2, 1.5], "times as fast"),
    ],
)
def test_budgets_of_schemes_are_lines_over_their_unit(
    drawn: list[Any], unit: str, amounts: tuple[float, ...], ticks: list[float], label: str
) -> None:
    targets = [{"sparsity": amount, "pattern": unit} for amount in amounts]
    cells = [cell("width", record(BASE, 1.0), target=target) for target in targets]
    picture.pareto_png(gather(body(*cells)))
    (axes,) = drawn
    assert list(axes.get_xticks()) == ticks and axes.get_xlabel() == label
    assert [len(line.get_xdata()) for line in axes.containers[0][:1]] == [2]
    # Beside shares they are named.
    share = cell("width", record(BASE, 1.0), target={"sparsity": 0.5, "pattern": "unstructured"})
    picture.pareto_png(gather(body(*cells, share)))
    assert "not on this axis: " in drawn[-1].get_xlabel()
    assert list(drawn[-1].get_xticks()) == [50.0]


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("depth:criterion=influence@own", "width"), "removed, % of the blocks"),
        (("depth+recover:steps=10@own", "depth+width"), "removed, % of the blocks"),
        (("wanda", "depth"), "zeros, % of the prunable weights (hollow: N:M); schemes: removed, %"),
    ],
)
def test_the_axis_says_what_is_removed(
    drawn: list[Any], names: tuple[str, ...], label: str
) -> None:
    other = {"sparsity": 0.75, "pattern": "unstructured"}
    cells = [cell(names[0], record(BASE, 1.0)), cell(names[1], record(BASE, 1.0), target=other)]
    picture.pareto_png(gather(body(*cells)))
    (axes,) = drawn
    assert axes.get_xlabel().startswith(label)


def test_no_two_of_many_methods_look_alike() -> None:
    # Of hollow points only colour and marker are seen, no dashes.
    looks = [tuple(picture.look_of(number).values()) for number in range(40)]
    assert len(set(looks)) == len(looks)
    colours, markers = zip(*looks[: len(picture.COLOURS)], strict=True)
    assert len(set(colours)) == len(set(markers)) == len(picture.COLOURS)
