"""A long answer is repeated with a mark where it is cut."""

from autoprune.search.tries import REPEATED_PROGRAM, quoted
from tests.support.synthetic import make_spec


def test_a_long_answer_is_repeated_with_a_mark_where_it_is_cut() -> None:
    spec = make_spec(language="program")
    whole = "a = 1\n" * (REPEATED_PROGRAM // 6)
    assert quoted(whole, spec) == whole
    shown = quoted(whole + "b = 2\nc = 3", spec)
    assert shown == whole.rstrip("\n") + "\n(cut here: 12 more characters)"
