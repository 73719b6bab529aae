"""Options are made from the parameter models: one name, default and text for a thing everywhere."""

import argparse

import pytest

from autoprune.search.spec import SearchSpec
from autoprune.search_settings import BudgetSettings, DesignerSettings, SearchSettings
from flows.cli.parser import build_parser, parse
from flows.compare.params import CompareParams
from flows.evaluate.params import EvaluateParams
from flows.export.params import ExportParams
from flows.params import Params, checked
from flows.promote.params import PromoteParams
from flows.prune.params import PruneParams
from flows.reproduce.params import ReproduceParams
from flows.search.params import SearchParams
from flows.terminal.options import given
from flows.up.params import UpParams
from tests.support.command_line import CommandLine

COMMANDS: dict[str, type[Params]] = {
    "search": SearchParams,
    "demo": SearchParams,
    "compare": CompareParams,
    "prune": PruneParams,
    "evaluate": EvaluateParams,
    "promote": PromoteParams,
}


def actions(command: str) -> dict[str, argparse.Action]:
    """The options of a command that ``--help`` shows, by the field that they set."""
    parser: argparse.ArgumentParser = (
        build_parser(command)
        .parse_args([command, "m"] if command not in ("demo", "promote") else [command])
        .parser
    )
    shown = [a for a in parser._actions if a.option_strings and a.help != argparse.SUPPRESS]
    return {action.dest: action for action in shown}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_is_an_option_of_its_name_and_text(command: str) -> None:
    found = actions(command)
    for name, field in COMMANDS[command].model_fields.items():
        option = f"--{name.replace('_', '-')}"
        wanted = [option.replace("--", "--no-", 1)] if field.default is True else [option]
        if name == "private":
            # What is published is listed by name either way.
            wanted = [option, *wanted]
        assert found[name].option_strings == wanted
        printed = str(found[name].help).replace("%%", "%").lower()
        assert name in ("model", "seed") or str(field.description).lower() in printed


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("export m", ExportParams),
        ("up", UpParams),
        ("reproduce r", ReproduceParams),
    ],
)
def test_commands_without_a_flow_are_made_from_their_fields_too(
    line: str, kind: type[Params]
) -> None:
    words = line.split()
    parser: argparse.ArgumentParser = build_parser(words[0]).parse_args(words).parser
    # An option may have a short form behind it.
    found = {action.dest: action for action in reversed(parser._actions)}
    own = [name for name in kind.model_fields if name not in ("model", "seed")]
    for name in own:
        printed = str(found[name].help).replace("%%", "%").lower()
        assert str(kind.model_fields[name].description).lower() in printed
    assert given(parse(words), kind).keys() <= {*kind.model_fields}


def test_help_states_what_a_limit_is_if_it_is_not_given() -> None:
    limits = ("minutes", "tokens", "money")
    assert all(str(actions("search")[name].help).endswith("(default: no limit)") for name in limits)
    assert str(actions("demo")["minutes"].help).endswith("(default 6.0)")


def test_what_is_typed_reaches_the_parameters_and_nothing_else_is_given() -> None:
    line = "search m --sparsity 0.5 --also-sparsities 0.4,0.7 --no-hints --text-split fresh --run r"
    typed = given(parse(line.split()), SearchParams)
    assert typed == {
        "model": "m", "sparsity": 0.5, "also_sparsities": [0.4, 0.7], "hints": False,
        "text_split": "fresh", "run": "r",
    }  # fmt: skip
    line = "compare m --baseline a,b --baseline dense --pattern 2:4,4:8 --sparsity 0.5"
    params = checked(CompareParams, given(parse(line.split()), CompareParams))
    assert params.baseline == ["a,b", "dense"] and params.pattern == ["2:4", "4:8"]


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("search --samples 4", "--samples is now --calibration-windows"),
        ("search --windows 4", "--windows is now --selection-windows"),
        ("search --windows", "--windows is now --selection-windows"),
        ("demo --solver mrp", "--solver is now --repairs"),
        ("search --also 0.5", "--also is now --also-sparsities"),
        ("search --no-register", "--no-register is now --no-register-winner"),
        ("compare m --windows=4", "--windows is now --sealed-windows"),
        ("compare m --seeds 3", "--seeds is now --draws"),
        ("compare m --output here", "--output is now --out"),
        ("compare m --solvers mrp", "--solvers is now --repairs"),
        ("prune m --solver mrp", "--solver is now --repair"),
        ("prune m --samples 4", "--samples is now --calibration-windows"),
        ("evaluate m --windows 4", "--windows is now --measured-windows"),
        ("promote --windows 4", "--windows is now --measured-windows"),
        ("ls solvers", "solvers is now repairs"),
    ],
)
def test_earlier_spellings_are_refused_with_the_new_one(
    line: str, printed: str, cli: CommandLine
) -> None:
    cli.refuses(line, printed)


@pytest.mark.parametrize("kind", [EvaluateParams, PromoteParams])
def test_a_renamed_setting_keeps_its_name_in_records(kind: type[Params]) -> None:
    # Names of evaluations are digests of this.
    earlier = {**kind().recorded(), "windows": 3}
    params = kind.model_validate(earlier)
    assert params == kind.model_validate({"measured_windows": 3})
    assert params.recorded() == earlier


@pytest.mark.parametrize("command", ["search", "compare", "prune", "evaluate"])
def test_the_model_is_a_word_or_an_option_but_not_both(command: str, cli: CommandLine) -> None:
    for words in ("./m", "--model ./m", "--seqlen 64 ./m --corpus c"):
        typed = parse([command, *words.split()])
        assert given(typed, COMMANDS[command])["model"] == "./m"
    cli.refuses(f"{command} a --model b", "the model is given twice, 'a' and 'b'")
    if command != "search":
        cli.refuses(command, f"write `autoprune {command} MODEL`")


def test_compact_takes_its_folders_as_words_or_options(cli: CommandLine) -> None:
    for line in ("compact", "compact a", "compact a b c", "compact a b --out c"):
        cli.refuses(line, "write `autoprune compact MODEL OUT`")
    for line in ("compact no out", "compact --model no --out out", "compact --out out no"):
        cli.refuses(line, "'no' is not a folder")


def test_settings_of_a_search_have_one_name_in_options_form_and_record() -> None:
    record = SearchSpec(model="m", corpus="c").to_json()
    flat = record | record["designer"] | record["budget"]
    shared = [*SearchSettings.model_fields, *DesignerSettings.model_fields]
    for name in (*shared, *BudgetSettings.model_fields):
        default = SearchParams.model_fields[name].default
        assert name in actions("search")
        if name == "arm":
            # A record without one is older than the choice, which depends on the designer.
            assert (default, flat[name]) == ("auto", "whole")
            continue
        # Left out while off, so that digests on record stay what they are.
        unset = {"program_seconds", "rung_calibration_windows", "values"}
        if name in unset | {"bytes", "faster"}:
            assert name not in flat
            continue
        assert flat[name] == (list(default) if isinstance(default, tuple) else default)
    form = SearchParams.model_json_schema()["properties"]
    assert set(form) == set(SearchParams.model_fields)
    assert list(form)[:4] == ["model", "corpus", "sparsity", "pattern"]


OLD_SEARCH = {
    "model": "m", "samples": 4, "windows": 6, "solver": "mrp,none", "also_sparsities": [0.5],
    "draws": 2, "temperature": 0.5,
}  # fmt: skip
OLD_COMPARE = {
    "model": "m", "samples": 4, "windows": 3, "seeds": 2, "metrics": "wanda", "solvers": "mrp",
    "output": "x", "selection_windows": 5,
}  # fmt: skip


def test_an_earlier_and_a_present_name_contradict_each_other() -> None:
    with pytest.raises(Exception, match="windows is now selection_windows, and both are given"):
        checked(SearchParams, {"windows": 4, "selection_windows": 5})
