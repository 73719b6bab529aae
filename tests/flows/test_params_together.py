"""Settings that contradict each other or would change nothing are refused, and at once."""

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from autoprune.errors import UsageError
from autoprune.evaluation.suites import build_suites
from autoprune.search.spec import DesignerSpec, SearchSpec
from flows.cli.parser import build_parser
from flows.compare.params import CompareParams
from flows.evaluate.params import EvaluateParams
from flows.params import Params, checked
from flows.prune import prune
from flows.prune.params import PruneParams
from flows.search.grammar import search_settings as given
from flows.search.params import SearchParams
from tests.support.command_line import CommandLine


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"workers": 4}, "of the runner dask"),
        ({"runner_address": "tcp://scheduler:8786"}, "of the runner dask"),
        ({"designer": "genetic", "base_url": "http://127.0.0.1:9/v1"}, "genetic asks no endpoint"),
        ({"designer": "self", "designer_model": "a.gguf"}, "self is the target model"),
        ({"designer": "openai", "designer_model": " , "}, "' , ' names no model"),
        ({"designer": "openai", "designer_model": "a,b,a"}, "'a,b,a' names a model twice"),
        ({"designer": "genetic", "answer_tokens": 2000}, "genetic writes no answers"),
        ({"designer": "none", "hints": False}, "none is asked nothing and gets no hints"),
        ({"designer": "none", "designer_model": "gpt-4o"}, "none is asked nothing; choose another"),
        ({"script": "answers.jsonl"}, "auto takes no script; leave script out"),
        ({"designer": "scripted"}, "scripted needs a script; add --script FILE"),
        ({"rung_windows": 9, "selection_windows": 8}, "9 is above selection_windows 8; take at"),
        ({"sandbox": "off", "language": "python"}, "language python is code, which runs only in"),
        ({"repairs": " , "}, "names no repair"),
        ({"money": 1.0}, "money 1 needs a price above zero: --price IN,OUT"),
        ({"money": 1.0, "price": "0,0", "designer": "local"}, "this machine has none"),
        ({"designer": "genetic", "price": "1,2"}, "genetic asks nobody and costs nothing"),
    ],
)
def test_what_would_be_ignored_is_refused(fields: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        checked(SearchParams, fields)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"overwrite": True}, "overwrite replaces a saved model; give --out DIR"),
        ({"private": False}, "give --push-to-hub OWNER/NAME"),
    ],
)
def test_an_option_of_the_saved_folder_needs_one(fields: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        checked(PruneParams, {"model": "m", **fields})


def test_sizes_of_prompts_and_answers_reach_the_designer() -> None:
    sizes = {"answer_tokens": 2000, "language": "both"}
    designer = checked(SearchParams, sizes).spec().designer
    assert (designer.answer_tokens, designer.prompt_tokens) == (2000, 1600)
    assert checked(SearchParams, {"prompt_tokens": 900}).spec().designer.prompt_tokens == 900
    assert checked(SearchParams, {}).spec().designer == DesignerSpec()
    # A scheme may list a share for each block.
    for schemes, answer_tokens in (("width", 160), ("width,width:rates=ramp", 600)):
        named = {"schemes": schemes, "designer": "openai", "designer_model": "m"}
        assert checked(SearchParams, named).spec().designer.answer_tokens == answer_tokens


@pytest.mark.parametrize(
    ("fields", "splits"),
    [
        ({"suite": "lm:part=sealed"}, True),
        ({"suite": "lm", "part": "sealed"}, True),
        ({"suite": "lm,lastword"}, True),
        ({"suite": "lm:seqlen=16"}, False),
        ({"suite": "lm:windows=2,part=all", "part": "sealed"}, False),
    ],
)
def test_a_split_needs_a_part_wherever_that_is_named(fields: dict[str, Any], splits: bool) -> None:
    wanted = fields | {"text_split": 3}
    if splits:
        assert checked(EvaluateParams, wanted).settings()["lm"]["text_split"] == 3
        return
    with pytest.raises(UsageError, match="the whole text is measured;"):
        checked(EvaluateParams, wanted)


def test_the_seed_of_an_evaluation_reaches_every_suite_that_has_one() -> None:
    params = checked(EvaluateParams, {"suite": "steps", "seed": 7})
    for suite in build_suites(params.suite + ",cost,lm,lastword,reasoning", params.settings()):
        assert suite.seed == 7, suite.name  # type: ignore[attr-defined]


def test_questions_without_hints_are_an_option() -> None:
    words = given(build_parser().parse_args(["search", "--no-hints"]))
    assert checked(SearchParams, words).spec().designer == DesignerSpec(hints=False)
    assert "hints" not in given(build_parser().parse_args(["search"]))


@pytest.mark.parametrize(
    ("designer", "arm"),
    [
        *(("openai", "list"), ("files", "list"), ("files:box", "list")),
        *(("auto", "whole"), ("local", "whole"), ("self", "whole")),
        *(("none", "none"), ("genetic", "genetic"), ("random", "random")),
    ],
)
def test_the_arm_follows_from_the_designer(designer: str, arm: str) -> None:
    left_out = checked(SearchParams, {"designer": designer})
    # What Prefect's form sends where nobody chose.
    as_in_form = checked(SearchParams, {"designer": designer, "arm": "auto"})
    assert left_out == as_in_form and left_out.spec().arm == left_out.recorded()["arm"] == arm
    assert f"--arm {arm}" in left_out.command()
    assert checked(SearchParams, left_out.to_json()) == left_out
    if arm in ("list", "whole"):
        for chosen in ("whole", "list", "graph"):
            assert checked(SearchParams, {"designer": designer, "arm": chosen}).arm == chosen
    fields = SearchParams.model_json_schema()["properties"]
    assert fields["arm"]["default"] == "auto"


def test_an_address_alone_names_the_designer_openai() -> None:
    named = checked(SearchParams, {"base_url": "http://host:1/v1"})
    assert (named.designer, named.arm) == ("openai", "list")
    assert named.spec().designer.prompt_tokens == 2400
    chosen = checked(SearchParams, {"base_url": "http://host:1/v1", "arm": "whole"})
    assert (chosen.designer, chosen.arm) == ("openai", "whole")


def test_a_record_without_an_arm_is_of_the_whole_search() -> None:
    # Records of searches from before there were arms; with the designer of today's list.
    old = checked(SearchParams, {"designer": "openai", "arm": "whole"}).spec().to_json()
    del old["arm"]
    assert SearchSpec.recorded(old).arm == "whole"


def test_several_models_are_named_with_commas_and_a_local_file_is_one() -> None:
    def named(designer: str, text: str | None) -> tuple[str | None, tuple[str, ...]]:
        fields = {"designer": designer, "designer_model": text}
        found = checked(SearchParams, fields).spec().designer
        return found.model, found.also_models

    assert named("openai", "small") == ("small", ())
    assert named("auto", "small, org/large:free,") == ("small", ("org/large:free",))
    assert named("local", "a,b.gguf") == ("a,b.gguf", ())
    assert named("openai", None) == (None, ())


def test_the_price_of_an_answer_comes_from_the_command_or_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named = given(Namespace(money=0.5, price="0.15,.6"))
    assert checked(SearchParams, named).spec().budget.price == (0.15, 0.6)
    monkeypatch.setenv("AUTOPRUNE_PRICE_PROMPT", "2.5")
    assert "price" not in given(Namespace(money=0.5))
    monkeypatch.setenv("AUTOPRUNE_PRICE_ANSWER", "10")
    known = given(Namespace(money=0.5))
    assert checked(SearchParams, known).spec().budget.price == (2.5, 10.0)
    # Only a limit in money makes it a part of the search.
    assert given(Namespace(tokens=5)) == {"tokens": 5}


@pytest.mark.parametrize("address", ["http://me:secret@host/v1", "me:secret@host", "//secret@h/"])
def test_an_address_with_a_login_is_refused_and_not_repeated(
    address: str, home: Path, cli: CommandLine
) -> None:
    shown = cli(f"search --designer openai --base-url {address} -v", code=2).err
    assert "OPENAI_API_KEY" in shown and ":secret" not in shown
    assert not (home / "runs").exists()
    with pytest.raises(ValidationError) as refused:
        DesignerSpec(base_url=address)
    assert "secret" not in str(refused.value)
    # The form of Prefect refuses it before Prefect keeps it.
    pattern = SearchParams.model_json_schema()["properties"]["base_url"]["pattern"]
    assert not re.search(pattern, address)
    for fine in ("http://127.0.0.1:9/v1", "https://host/v1/a@b", "host:80/v1?user=a@b"):
        assert re.search(pattern, fine)
        assert checked(SearchParams, {"base_url": fine}).spec().designer.base_url == fine


@pytest.mark.parametrize(
    "fields",
    [
        {"runner": "dask", "workers": 4},
        {"runner": "dask", "runner_address": "tcp://head:8786"},
        {"base_url": "http://127.0.0.1:9/v1"},
        {"designer": "scripted", "script": "answers.jsonl"},
    ],
)
def test_what_counts_is_taken(fields: dict[str, Any]) -> None:
    assert checked(SearchParams, fields)


@pytest.mark.parametrize(
    ("text", "unnamed", "choices"),
    [
        ("mrp:damp=0.02,select=own", "mrp:damp=0.02,select=own", ("mrp:damp=0.02,select=own",)),
        ("mrp,none,ebft:epochs=2", "none", ("none", "mrp", "ebft:epochs=2")),
        ("sparsegpt,mrp", "sparsegpt", ("sparsegpt", "mrp")),
    ],
)
def test_repairs_are_named_alone_or_to_choose_from(
    text: str, unnamed: str, choices: tuple[str, ...]
) -> None:
    spec = checked(SearchParams, {"repairs": text}).spec()
    assert spec.default_repair == unnamed
    assert spec.choices.repairs == choices


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (SearchParams, {"also_sparsities": [0.5, 1.5]}),
        (CompareParams, {"sparsity": [60]}),
        (CompareParams, {"pattern": ["2of4"]}),
    ],
)
def test_every_item_of_a_list_has_bounds(kind: type[Params], fields: dict[str, Any]) -> None:
    (name,) = fields
    with pytest.raises(UsageError, match=name):
        checked(kind, fields)


@pytest.mark.parametrize(
    ("fields", "part"),
    [({"stream": True, "out": "out"}, "streaming never holds"), ({"held_out": "c4"}, "no --held")],
)
def test_contradictions_of_auto_are_found_before_the_model_is_opened(
    fields: dict[str, Any], part: str
) -> None:
    with pytest.raises(UsageError, match=part):
        prune.fn(PruneParams(model="no-such-model", allocation="auto", **fields))


@pytest.mark.parametrize(
    ("given", "share"),
    [
        ({}, 0.6),
        ({"sparsity": 0.7}, 0.7),
        ({"pattern": "2:4"}, 0.5),
        ({"pattern": "1:4"}, 0.25),
        ({"sparsity": 0.5, "pattern": "2:4"}, 0.5),
    ],
)
def test_a_pattern_says_its_share_of_zeros_itself(given: dict[str, Any], share: float) -> None:
    search = SearchParams(**given)
    assert search.share == PruneParams(**given).share == search.spec().sparsity == share
    assert f"-s{round(100 * share)}-" in search.run_id()
    with pytest.raises(UsageError, match=r"1 ≤ N < M"):
        SearchParams(pattern="4:0").run_id()
