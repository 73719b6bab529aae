"""What is hidden takes its formulas with it, and what a search needs cannot be hidden."""

import pytest

from autoprune.design.hiding import Hidden
from autoprune.search.moves import take
from autoprune.search.starts import RecipeSpec
from tests.support.synthetic import make_spec


def test_a_hidden_function_takes_its_formulas_with_it() -> None:
    spec = make_spec(hide=("col_sum",))
    assert "ria" not in [made.metric for made in spec.hand_made()]
    assert "ria" in [made.metric for made in make_spec().hand_made()]
    ria = RecipeSpec(metric="ria").recipe("none")
    assert not take(ria, set(), Hidden(("ria",))) and take(ria, set(), Hidden(("ebft",)))
    with pytest.raises(ValueError, match="wanda, which changes are measured against, is"):
        make_spec(hide=("x_norm",))
    with pytest.raises(ValueError, match="Python answers define a function of this name"):
        make_spec(hide=("score",), language="python")


def test_programs_are_left_with_a_repair_or_refused() -> None:
    with pytest.raises(ValueError, match="programs move the weights themselves"):
        make_spec(language="program", default_repair="mrp", repair_choices=("mrp",), proxy="mrp")
