"""Settings of a search in a YAML file: the options' names, checked alike, below what is typed."""

from pathlib import Path

import pytest

from autoprune.errors import UsageError
from flows.cli.parser import parse
from flows.demo import grammar as demo
from flows.search.grammar import search_settings
from flows.search.params import SearchParams
from flows.terminal.options import settled
from tests.support.command_line import CommandLine


def test_what_is_typed_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: mine\nsparsity: 0.5\nstarts: [wanda+mrp, ria]\nminutes: 30\n")
    words = ["search", "--config", str(file), "--sparsity", "0.7"]
    params = SearchParams.model_validate(search_settings(parse(words)))
    assert (params.model, params.share, params.minutes) == ("mine", 0.7, 30.0)
    assert params.starts == ("wanda+mrp", "ria")
    assert [made.repair for made in params.spec().starts] == ["mrp", "none"]


@pytest.mark.parametrize("command", ["search", "demo"])
def test_the_seed_of_the_file_holds_unless_one_is_typed(tmp_path: Path, command: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 7\n")
    words = [command, "--config", str(file)]
    seeds = [search_settings(parse([*words, *more])).get("seed") for more in ([], ["--seed", "0"])]
    assert seeds == [7, 0]


@pytest.mark.parametrize(
    ("text", "says"),
    [("a: [", "is not YAML"), ("- a", "holds no mapping"), ("sparsety: 0.5", "sparsety")],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=says):
        settled(SearchParams, search_settings(parse(["search", "--config", str(file)])))
    with pytest.raises(UsageError, match="does not exist"):
        search_settings(parse(["search", "--config", str(tmp_path / "none.yaml")]))


def test_the_schema_has_every_setting(cli: CommandLine) -> None:
    assert list(cli("search --schema").record["properties"]) == SearchParams.in_order()


@pytest.mark.parametrize(
    ("typed", "candidates"),
    [("", 12), ("--evaluations 5", 100), ("--evaluations 5 --candidates 7", 7)],
)
def test_the_demos_evaluations_set_its_candidates(typed: str, candidates: int) -> None:
    assert demo.read(parse(["demo", *typed.split()])).candidates == candidates
