"""Variables that a user sets: one reading of on and off, and prices that are prices."""

import pytest

from autoprune.errors import UsageError
from flows.search.opening import opened_search
from flows.search.params import SearchParams
from tasks.switches import RECORD_VARIABLE, TRACES_VARIABLE, price, switched_on


@pytest.mark.parametrize("variable", [RECORD_VARIABLE, TRACES_VARIABLE])
@pytest.mark.parametrize(
    ("text", "on"),
    [("off", False), ("0", False), (" False", False), ("NO", False), ("", True), ("1", True)],
)
def test_switches_are_read_alike(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, on: bool
) -> None:
    monkeypatch.setenv(variable, text)
    assert switched_on(variable) is on


def test_a_switch_that_is_neither_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPRUNE_TRACES", "of")
    with pytest.raises(UsageError, match="AUTOPRUNE_TRACES is 'of'; allowed are on"):
        switched_on("AUTOPRUNE_TRACES")


@pytest.mark.parametrize("text", ["two", "-1", "nan", "inf", "2,5"])
def test_a_wrong_price_ends_a_search_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("AUTOPRUNE_PRICE_ANSWER", text)
    with (
        pytest.raises(UsageError, match="AUTOPRUNE_PRICE_ANSWER is"),
        opened_search(SearchParams(model="nowhere")),
    ):
        pass


def test_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPRUNE_PRICE_PROMPT", " 2.5 ")
    assert price("AUTOPRUNE_PRICE_PROMPT") == 2.5
    monkeypatch.delenv("AUTOPRUNE_PRICE_PROMPT")
    assert price("AUTOPRUNE_PRICE_PROMPT") is None
