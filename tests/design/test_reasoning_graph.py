"""The reasoning graph: append-only, acyclic, digest without timings, credit that decays."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.design.claims import judged_claims, verdict_of
from autoprune.design.detail import step
from autoprune.design.graph import Graph, NodeKind, parent_weights
from autoprune.errors import AutopruneError

CLAIMS: list[NodeKind] = ["hypothesis", "mechanism", "code", "critique", "lesson"]


def chain(length: int) -> Graph:
    graph = Graph()
    for number in range(length):
        graph.add(f"C{number}", "mechanism", {"formula": "abs(W)"})
        if number:
            graph.link(f"C{number}", "derives_from", f"C{number - 1}")
    return graph


def test_edges_point_to_older_nodes() -> None:
    graph = chain(2)
    for source, target in [("C0", "C1"), ("C1", "C1")]:
        with pytest.raises(AutopruneError, match="older"):
            graph.link(source, "improves", target)
    with pytest.raises(AutopruneError, match="no node C9"):
        graph.link("C9", "improves", "C0")
    with pytest.raises(AutopruneError, match="unique"):
        graph.add("C0", "result", {})


def test_timings_do_not_count_and_everything_else_does() -> None:
    def with_result(**body: object) -> str:
        graph = chain(1)
        graph.add("C0.r1", "result", body)
        return graph.digest

    assert with_result(perplexity=3.5, seconds=1.0) == with_result(perplexity=3.5, seconds=2.0)
    assert with_result(perplexity=3.5) != with_result(perplexity=3.6)


def test_credit_goes_to_ancestors_and_decays() -> None:
    credit = chain(4).credit({"C3": 1.0, "C1": 0.1, "C2": -5.0})
    assert credit == pytest.approx({"C3": 1.0, "C2": 0.7, "C1": 0.49, "C0": 0.343})


def test_credit_is_read_from_results_and_draws_parents() -> None:
    graph = chain(4)
    for number, gain in ((1, 0.1), (2, -5.0), (3, 1.0)):
        graph.add(f"C{number}.r1", "result", {"status": "measured", "rung": 1, "gain": gain})
        graph.link(f"C{number}.r1", "tests", f"C{number}")
    graph.link("C3", "improves", "C2")
    assert graph.gains() == {"C1": 0.1, "C2": -5.0, "C3": 1.0}
    assert graph.credit() == pytest.approx({"C3": 1.0, "C2": 0.7, "C1": 0.49, "C0": 0.343})
    # Untried; its one child improved on it; its one child did not, twice.
    weights = parent_weights(graph, ["C3", "C2", "C1", "C0"])
    assert weights == pytest.approx([2 / 2, 1.7 * 2 / 3 / 2, 1.49 / 3 / 3, 1.343 / 3 / 4])
    assert parent_weights(chain(2), ["C1", "C0"]) == [0.5, 0.25]


@pytest.mark.parametrize(
    ("newer", "stands"),
    [
        ({"status": "measured", "against": {"C0": "better"}}, True),
        ({"status": "measured", "against": {"C0": "unclear"}}, False),
        ({"status": "measured", "against": {"C0": "worse"}}, False),
        # No newer comparison of the two.
        ({"status": "measured", "against": {"C7": "worse"}}, True),
        ({"status": "rejected", "code": "nan_measurement"}, False),
    ],
)
def test_an_improvement_counts_and_shows_while_the_newest_comparison_agrees(
    newer: dict[str, object], stands: bool
) -> None:
    graph = Graph()
    for alias, formula in (("C0", "abs(W)"), ("C1", "abs(W) * x_norm")):
        body = {"formula": formula, "group": "row", "allocation": "uniform", "solver": "none"}
        graph.add(alias, "mechanism", body)
    graph.link("C1", "derives_from", "C0")
    results = ({"status": "measured", "against": {"C0": "better"}}, newer)
    for rung, body in enumerate(results, 1):
        graph.add(f"C1.r{rung}", "result", {**body, "rung": rung})
        graph.link(f"C1.r{rung}", "tests", "C1")
    edge = graph.link("C1", "improves", "C0")
    # It stays on record whatever becomes of it.
    assert edge in graph.edges and graph.stands(edge) == stands
    assert [node.alias for node in graph.improved("C1")] == ["C0"] * stands
    assert graph.wins("C0") == stands
    # One child, tried: 2 of 3 with a win, 1 of 3 without.
    assert parent_weights(graph, ["C0"]) == pytest.approx([(1 + stands) / 3])
    assert (", improves C0" in step(graph, "C1", "C0").full) == stands


def test_the_newest_result_judges_a_claim() -> None:
    graph = Graph()
    for alias, claim in (("C1", "Size counts."), ("C2", "size counts"), ("C3", "luck"), ("C4", "")):
        graph.add(f"{alias}.h", "hypothesis", {"claim": claim})
        graph.add(alias, "mechanism", {})
        graph.link(alias, "derives_from", f"{alias}.h")
    verdicts = {"C1": ["supports"], "C2": ["refutes", "supports"], "C3": ["supports", ""]}
    for alias, judged in verdicts.items():
        for rung, kind in enumerate(judged, 1):
            graph.add(f"{alias}.r{rung}", "result", {"status": "measured", "rung": rung})
            graph.link(f"{alias}.r{rung}", "tests", alias)
            if kind:
                graph.link(f"{alias}.r{rung}", kind, f"{alias}.h")  # type: ignore[arg-type]
    assert [verdict_of(graph, f"C{n}") for n in (1, 2, 3, 4)] == [
        *("right", "right", "unclear", "open")
    ]
    (found,) = judged_claims(graph)
    assert (found.text, found.owner, found.right, found.wrong) == ("size counts", "C2", 2, 0)
    graph.add("C4.x", "result", {"status": "rejected", "code": "timeout"})
    graph.link("C4.x", "tests", "C4")
    assert verdict_of(graph, "C4") == "failed"


@pytest.mark.parametrize("kind", CLAIMS)
@pytest.mark.parametrize("held", [0.3, 12, {"by": 0.3}, ["better", (1,)]])
def test_a_claim_holds_no_number(kind: NodeKind, held: object) -> None:
    graph = Graph()
    with pytest.raises(AutopruneError, match=f"{kind} C1 holds the number .*observation, result"):
        graph.add("C1", kind, {"text": "it helps by 0.3", "stated": True, "gain": held})
    assert not graph.nodes
    graph.add("C1", kind, {"text": "it helps by 0.3", "stated": True, "parts": ["group"]})
    graph.add("C1.r1", "result", {"gain": held})


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_whatever_is_linked_stays_acyclic(pairs: list[tuple[int, int]]) -> None:
    graph = chain(10)
    for source, target in pairs:
        if source > target:
            graph.link(f"C{source}", "combines", f"C{target}")
    order = {alias: number for number, alias in enumerate(graph.nodes)}
    assert all(order[edge.target] < order[edge.source] for edge in graph.edges)
    assert len(set(graph.edges)) == len(graph.edges)
