"""The grader is strict, reflexive and symmetric; what hangs counts as wrong."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoprune.evaluation.grading.extraction import boxed_answer, last_number, marked_answer
from autoprune.evaluation.grading.grader import Grader, Leniency
from autoprune.evaluation.grading.parsing import parse_answer, tidy
from autoprune.evaluation.grading.syntax import UnreadableAnswerError, rational_value


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as shared:
        yield shared


@pytest.fixture(scope="module")
def patient() -> Iterator[Grader]:
    """For what must be found equal, however busy the machine is."""
    with Grader(timeout=60.0) as shared:
        yield shared


EQUAL = [
    ("1/2", "0.5"),
    ("1/2", r"\frac12"),
    ("0.5", r"\dfrac{1}{2}"),
    ("$3$", "3"),
    ("3.", "3.0"),
    ("1,000", "1000"),
    (r"12,\!345", "12345"),
    ("12{,}345", "12345"),
    (r"1\,234\,567", "1234567"),
    (r"\$1,000", r"\$1000"),
    (r"1,000\pi", r"1000\pi"),
    ("x = 1,000", "x=1000"),
    (r"2,500\text{ m}^2", r"2500\text{ m}^2"),
    (r"(-\infty, -1) \cup (1, \infty)", r"(-\infty,-1)\cup(1,\infty)"),
    (r"3 \pm \sqrt{2}", r"3\pm\sqrt{2}"),
    ("-5", "−5"),
    (r"1\frac12", "3/2"),
    ("1 1/2", "1.5"),
    (r"-1\frac{1}{2}", "-3/2"),
    ("-1 1/2", "-1.5"),
    ("3 - 1 1/2", "1.5"),
    ("2(1/2)", "1"),
    (r"(-1)\frac{1}{2}", "-0.5"),
    ("1.5e3", "1500"),
    ("2^{10}", "1024"),
    ("x^12", "x^{12}"),
    ("(1, 2)", r"\left( 1,\; \frac{4}{2} \right)"),
    (r"\{1, 2\}", r"\{2, 1\}"),
    ("(1, 2]", r"\left(1, 2\right]"),
    ("x = 3", "3 = x"),
    ("x < 3", "3 > x"),
    (r"1 < x \le 2", r"2 \ge x > 1"),
    ("0 < a < b", "b > a > 0"),
    (r"\sqrt{8}", r"2\sqrt2"),
    ("√13", r"\sqrt{13}"),
    ("2 √ 12", r"4\sqrt{3}"),
    (r"(x+1)^2", "x^2 + 2x + 1"),
    (r"\sin^2 x + \cos^2 x", "1"),
    (r"e^{i\pi}", "-1"),
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"),
    (r"\log_2 8", "3"),
    ("|-3|", "3"),
    (r"50\%", "50%"),
    ("90°", r"90^\circ"),
    (r"\text{Yes}", "Yes"),
    ("5!", "120"),
    ("(A)", "A"),
    (r"\alpha_1", r"\alpha_{1}"),
]
DIFFERENT = [
    ("(1,2)", "(2,1)"),
    ("(1,2)", "(1,2]"),
    ("(1,2)", r"\{1,2\}"),
    ("(1,2)", "1,2"),
    ("1,2", "2,1"),
    (r"1,\!000", "1,0"),
    (r"\$1,000", r"\$1,0"),
    ("(1,200)", "1200"),
    ("1,000, 2", "1000"),
    (r"3 4 \pm 1", r"34 \pm 1"),
    ("(1,2)", "(1,2,3)"),
    ("2^{2022}", "2"),
    ("1/3", "0.333"),
    (r"-1\frac{1}{2}", r"-\frac{1}{2}"),
    ("2(1/2)", "5/2"),
    # A mixed number in a product would be read as two factors.
    (r"2\cdot1\frac12", "1"),
    (r"6/1\frac12", "3"),
    ("50", "0.5"),
    (r"50\%", "0.5"),
    (r"50\%", "50"),
    (r"5\text{ cm}", "5"),
    (r"5\text{ cm}", r"5\text{ m}"),
    ("x = 5", "5"),
    ("no", "on"),
    ("A", "a"),
    ("x", "y"),
    ("x", "5"),
    (r"\sqrt{x^2}", "x"),
    ("1/0", "2/0"),
    ("x < 3", "x > 3"),
    (r"1 < x \le 2", "2 > x > 1"),
    ("1 < x < 2", "1 > x > 2"),
    ("10^{5000}", "10^{5001}"),
    (r"\log 8", r"\ln 8"),
    ("3", "three"),
    ("", ""),
    (" ", "1"),
]


@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_equal_answers_both_ways(patient: Grader, a: str, b: str) -> None:
    assert patient.grade(a, b).correct
    assert patient.grade(b, a).correct


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_different_answers_both_ways(grader: Grader, a: str, b: str) -> None:
    assert not grader.grade(a, b).correct
    assert not grader.grade(b, a).correct


atoms = st.one_of(
    st.integers(-999, 999).map(str),
    st.fractions(-50, 50, max_denominator=60).map(
        lambda f: rf"\frac{{{f.numerator}}}{{{f.denominator}}}"
    ),
    st.decimals(-99, 99, places=2, allow_nan=False).map(str),
)
answers = st.one_of(
    atoms, st.lists(atoms, min_size=2, max_size=3).map(lambda p: f"({', '.join(p)})")
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answers, answers)
def test_reflexive_and_symmetric(patient: Grader, a: str, b: str) -> None:
    assert patient.grade(a, a).correct
    assert patient.grade(a, b).correct == patient.grade(b, a).correct


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_equals_itself_and_never_breaks_the_grader(patient: Grader, a: str) -> None:
    assert patient.grade(a, a).correct == bool(tidy(a))
    assert patient.grade(a, "1").code in {
        "text",
        "number",
        "structure",
        "different",
        "missing",
        "unreadable",
        "symbolic",
        "failed",
    }


@given(st.fractions(max_denominator=10**6))
def test_fractions_keep_their_exact_value(value: object) -> None:
    assert rational_value(parse_answer(str(value))) == value


@pytest.mark.parametrize("bomb", ["9^{9^{9^{9}}}", "(10^{9})!", r"2^{3^{30}} + \sin 1"])
def test_timeout_is_wrong_is_reported_and_leaves_the_grader_alive(bomb: str) -> None:
    with Grader(timeout=0.5) as grader:
        grader.grade(r"\sqrt4", "2")  # Starts the child, which the timeout does not count.
        # Worked out it would never come back.
        grade = grader.grade(bomb, r"\sqrt{7}")
        assert not grade.correct
        assert grade.code in {"timeout", "failed"}
        # A busy machine may take longer than that for an honest answer too.
        grader._symbolic.timeout = 60.0
        assert grader.grade(r"\sqrt4", "2").correct
        assert grader.grade(bomb, bomb).correct


@pytest.mark.parametrize(
    "hostile",
    [
        "__import__('os').system('true')",
        "().__class__.__bases__[0]",
        "lambda: 0",
        r"\input{/etc/passwd}",
        "(" * 399,
        "x" + "!" * 398,
        "2*" * 199 + "2",
        "ln " * 130 + "x",
        "-" * 399 + "1",
        "1" * 100_000,
        "1e999999",
        r"\boxed" * 60,
        "{" * 300 + "1" + "}" * 99,
        r"\frac" * 70,
    ],
)
def test_hostile_text_is_only_text(grader: Grader, hostile: str) -> None:
    assert not grader.grade(hostile, "7").correct
    assert grader.grade(hostile, hostile).correct


def test_unreadable_says_why() -> None:
    with pytest.raises(UnreadableAnswerError, match="at most 400"):
        parse_answer("1" * 401)
    with pytest.raises(UnreadableAnswerError, match="ends too early"):
        parse_answer("1 +")


def test_each_leniency_is_off_and_can_be_switched_on() -> None:
    cases = [
        (Leniency(percent=True), "50", "0.5"),
        (Leniency(relative_tolerance=1e-3), "0.3333", "1/3"),
        (Leniency(units=True), r"5\text{ cm}", "5"),
        (Leniency(assignment=True), "x = 5", "5"),
        (Leniency(unordered=True), "2, 1", "1, 2"),
        (Leniency(ignore_case=True), "YES", "yes"),
    ]
    for leniency, a, b in cases:
        with Grader() as strict, Grader(leniency, timeout=60.0) as lenient:
            for first, second in [(a, b), (b, a)]:
                assert not strict.grade(first, second).correct
                assert lenient.grade(first, second).correct
    with Grader(Leniency(last_number=True)) as lenient:
        assert lenient.grade_reply("so it is 1,234 then", "1234").correct
        assert lenient.record()["leniency"]["last_number"] is True


def test_reply_is_read_in_its_answer_place_only(patient: Grader) -> None:
    assert patient.grade_reply(r"first \boxed{3}, no: \boxed{\frac{1}{2}}.", "0.5").correct
    assert patient.grade_reply("the result is 5", "5").code == "missing"
    assert patient.grade_reply("Answer: 5.\nQuestion: 6?", "5", marker="Answer:").correct
    assert patient.grade_reply("Answer: 5", "5").code == "missing"
    assert not patient.grade_reply(r"Answer: 5 \boxed{6}", "5", marker="Answer:").correct


def test_extraction() -> None:
    assert boxed_answer(r"\boxed{\{1, \text{a}\}}") == r"\{1, \text{a}\}"
    assert boxed_answer(r"\boxed 7") == "7"
    assert boxed_answer(r"\boxed{1") is boxed_answer("no box") is boxed_answer(r"\boxed{}") is None
    assert marked_answer("Answer:", "Answer:") is None
    assert last_number("none") is None
