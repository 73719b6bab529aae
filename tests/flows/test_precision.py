"""The precision of a search's products: settled by the machine it starts on, and kept from then."""

from pathlib import Path

import pytest
import torch

from autoprune.errors import UsageError
from autoprune.pruning import products
from autoprune.search.spec import SearchSpec
from autoprune.storage import write_json
from flows.search.opening import opened_search
from flows.search.params import SearchParams
from flows.search.runs import save_params, saved_params, settled_precision
from tasks.run_files import RunFiles
from tasks.state import State


def has(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    monkeypatch.setenv("AUTOPRUNE_DEVICE", "cpu")
    monkeypatch.setattr(products, "_cpu_has_bfloat16", lambda: fast)


def test_auto_is_what_the_processor_is_fast_with(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = SearchParams(model="m", corpus="c")
    has(monkeypatch, False)
    plain = asked.spec()
    assert plain.precision == "float32" and "precision" not in plain.to_json()
    has(monkeypatch, True)
    rounded = asked.spec()
    assert rounded.precision == "bfloat16" and rounded.digest != plain.digest
    assert SearchSpec.recorded(rounded.to_json()) == rounded
    wish = asked.model_copy(update={"precision": "float32"})
    assert wish.spec() == plain, "if asked for, on every processor"


def test_a_search_keeps_it_on_another_processor(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, asked = State.open(), SearchParams(model="m", corpus="c", run="mine")
    has(monkeypatch, True)
    begun = settled_precision(state, "mine", asked)
    assert begun.precision == "bfloat16" and begun.command().endswith("--precision bfloat16")
    save_params(state, "mine", begun)
    has(monkeypatch, False)
    assert saved_params(state, "mine").spec() == begun.spec()
    assert settled_precision(state, "mine", asked) == begun
    # A search without a name has the same one everywhere, and is found by it.
    nameless = asked.model_copy(update={"run": None})
    name = nameless.run_id()
    has(monkeypatch, True)
    assert nameless.run_id() == name
    save_params(state, name, settled_precision(state, name, nameless))
    has(monkeypatch, False)
    again = settled_precision(state, name, nameless)
    assert (again.precision, again.run_id()) == ("bfloat16", name)
    # Searches of earlier versions know no other than float32.
    has(monkeypatch, True)
    write_json(RunFiles.of(state, "old").params, asked.recorded() | {"run": "old"})
    assert saved_params(state, "old").spec().precision == "float32"


def test_it_is_that_of_selection_text_on_the_search_s_bench(
    tiny_folder: Path, rows: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"model": str(tiny_folder), "corpus": str(rows), "run": "mine", "designer": "random"}
    asked |= {"sandbox": "off"}
    for fast, wanted in ((True, torch.bfloat16), (False, torch.bfloat16)):
        has(monkeypatch, fast)
        with opened_search(SearchParams.model_validate(asked)) as (driver, _):
            assert driver.bench.products == wanted
    with (
        pytest.raises(UsageError, match="precision"),
        opened_search(SearchParams.model_validate(asked | {"precision": "float32"})),
    ):
        pass
