"""The graph keeps every node in its own cell, reads forward, and shows whole lines of thought."""

from dataclasses import replace

from autoprune.report.data import ReportEdge, ReportNode, RunReport
from autoprune.report.graph_layout import MAX_FOCUS, focus_nodes, lay_out
from autoprune.report.graph_plot import graph_png
from tests.support.sample_run import make_report


def test_every_node_has_a_cell_of_its_own_and_edges_read_forward() -> None:
    report = make_report(60)
    layout = lay_out(report, report.nodes)
    cells = {item.node.id: (item.row, item.column) for item in layout.placed}
    assert len(set(cells.values())) == len(report.nodes)
    for row, column in cells.values():
        assert 0 <= row < layout.rows
        assert 0 <= column < len(layout.titles)
    for edge in layout.edges:
        if edge.kind != "derives_from":
            assert cells[edge.target] < cells[edge.source]


def test_focus_holds_the_whole_line_of_the_winner_and_no_half_line() -> None:
    report = make_report(60)
    focus = {node.id for node in focus_nodes(report)}
    assert len(focus) <= MAX_FOCUS
    assert report.winner is not None
    path = {item.node.id for item in lay_out(report, report.nodes).placed if item.on_path}
    assert {n.id for n in report.nodes if n.entry == report.winner.id} <= focus
    for entry in {n.entry for n in report.nodes if n.id in focus and n.entry}:
        line = {n.id for n in report.nodes if n.entry == entry}
        assert line <= focus or line & focus <= path


def test_results_of_one_candidate_stand_side_by_side() -> None:
    kinds = {"t": "task", "m": "mechanism", "r1": "result", "n": "mechanism", "r2": "result"}
    nodes = tuple(ReportNode(name, kind, "") for name, kind in {**kinds, "s": "result"}.items())
    edges = tuple(ReportEdge(result, "m", "tests") for result in ("r1", "r2", "s"))
    layout = lay_out(RunReport("r", "", "m", "c", 0.5, None, (), nodes=nodes, edges=edges), nodes)
    cells = {item.node.id: (item.row, item.column) for item in layout.placed}
    assert [cells[name] for name in ("m", "r1", "r2", "s", "n")] == [
        (1, 1), (1, 2), (1, 3), (1, 4), (2, 1),
    ]  # fmt: skip
    assert layout.titles == ("hypothesis", "mechanism", "result", "", "")


def test_edges_that_say_nothing_new_are_not_drawn() -> None:
    nodes = tuple(ReportNode(name, kind, "") for name, kind in (
        ("t", "task"), ("a", "mechanism"), ("h", "hypothesis"), ("b", "mechanism")))  # fmt: skip
    edges = tuple(ReportEdge(source, target, "derives_from") for source, target in (
        ("a", "t"), ("h", "t"), ("h", "a"), ("b", "h"), ("b", "a")))  # fmt: skip
    layout = lay_out(RunReport("r", "", "m", "c", 0.5, None, (), nodes=nodes, edges=edges), nodes)
    assert [(edge.source, edge.target) for edge in layout.edges] == [("h", "a"), ("b", "h")]


def test_a_graph_without_a_winner_or_with_loose_ends_is_drawn() -> None:
    report = make_report(60)
    loose = replace(report, entries=(), edges=(*report.edges, ReportEdge("h1", "nowhere", "tests")))
    assert graph_png(loose).startswith(b"\x89PNG")
