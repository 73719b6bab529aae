"""What an error says, on one line."""

import pytest

from autoprune.errors import UsageError, reason_of


@pytest.mark.parametrize(
    ("message", "options", "shown"),
    [
        (" one\n  two ", {}, "one two"),
        ("one\ntwo", {"first_line": True}, "one"),
        ("one two", {"limit": 5}, "one t"),
        ("x" * 300, {"limit": None}, "x" * 300),
        ("one", {"named": True}, "UsageError: one"),
        ("one", {"named": True, "limit": 1}, "UsageError: o"),
        ("", {}, "UsageError"),
        (" ", {"named": True, "first_line": True}, "UsageError"),
    ],
)
def test_a_reason_is_one_line(message: str, options: dict[str, bool], shown: str) -> None:
    assert reason_of(UsageError(message), **options) == shown  # type: ignore[arg-type]
