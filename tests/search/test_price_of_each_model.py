"""Several models with a price each: every answer is charged at the price of who gave it."""

from pathlib import Path

import pytest

from autoprune.errors import UsageError
from autoprune.report.designer_calls import call_totals, designer_calls
from autoprune.search import DesignerSpec, Search, SearchBudget
from flows.params import checked
from flows.search.params import SearchParams
from tests.support.synthetic import Synthetic, drive, make_spec

PRICES = {"small": (0.1, 0.5), "large": (3.0, 15.0)}


def test_each_answer_costs_what_its_model_costs(tmp_path: Path) -> None:
    designer = DesignerSpec(kind="scripted", model="small", also_models=("large",))
    budget = SearchBudget(candidates=20, price=(3.0, 15.0), prices=PRICES)
    with Search.open(tmp_path, make_spec(designer=designer, budget=budget)) as search:
        drive(search, Synthetic())
        spent, history = search.spent, search.history()
        calls = designer_calls(search, "openai: small, large", ())
    asked = [e for e in history if e["step"]["kind"] == "Propose"]
    by_hand, models = 0.0, set()
    for event in asked:
        model, usage = event["step"]["request"].get("model") or "small", event["outcome"]["usage"]
        models.add(model)
        asking, answering = PRICES[model]
        by_hand += usage["prompt_tokens"] * asking + usage["completion_tokens"] * answering
    assert models == {"small", "large"}
    assert spent.money == pytest.approx(by_hand / 1e6)
    totals = call_totals(calls, budget.price, PRICES)
    assert totals["designer_cost_usd"] == pytest.approx(spent.money)


def test_prices_are_written_on_one_line_and_limits_are_kept_by_the_dearest() -> None:
    line = {"designer_model": "small, large", "price": "small=0.1,15;large=3,0.5", "money": 1.0}
    params = checked(SearchParams, {"model": "m", **line})
    budget = params.spec().budget
    assert budget.prices == {"small": (0.1, 15.0), "large": (3.0, 0.5)}
    assert budget.price == (3.0, 15.0)
    assert budget.cost(10**6, 10**6) == 18.0 and budget.cost(10**6, 0, "small") == 0.1
    # Settings without such prices keep the names that their runs have.
    plain = checked(SearchParams, {"model": "m", "price": "0.1,0.2"}).spec()
    assert "prices" not in plain.to_json()["budget"]
    assert type(plain).recorded(plain.to_json()) == plain


@pytest.mark.parametrize(
    ("price", "shown"),
    [
        ("small=0.1,0.2", "large"),
        ("small=1,2;other=1,2", "large, other"),
        ("a=1", "write IN,OUT, such as"),
    ],
)
def test_every_model_has_a_price_or_none(price: str, shown: str) -> None:
    with pytest.raises(UsageError, match=shown):
        checked(SearchParams, {"model": "m", "designer_model": "small,large", "price": price})
