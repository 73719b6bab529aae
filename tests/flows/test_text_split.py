"""One option for the split of the text, in every command that seals a part of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import UsageError
from autoprune.models.saving import save_model
from autoprune.search.spec import SearchSpec
from autoprune.storage import write_json
from autoprune.store import Store
from autoprune.text.corpora import load_corpus
from autoprune.text.seen_text import referenced_text
from autoprune.text.splits import split
from flows.cli.parser import parse
from flows.promote.params import PromoteParams
from flows.search.params import SearchParams
from flows.search.runs import saved_params
from flows.terminal import console
from flows.text_split import forget_split, settled
from tasks.run_files import RunFiles
from tasks.sealed_looks import record_look
from tasks.search_bench import SearchBench
from tasks.state import State
from tasks.text_split import check_independent
from tests.support.command_line import CommandLine
from tests.support.small_comparison import LINE
from tests.support.tiny_subject import tiny_subject

COMPARE = f"{LINE} --methods wanda --sparsity 0.5 --draws 1".replace(" -q", "")
COMMANDS = ("search", "demo", "compare m", "evaluate m", "promote")


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the commands print while they work."""
    found: list[str] = []
    screen = console.screen()
    monkeypatch.setattr(type(screen), "event", lambda _, text: found.append(text))
    return found


def spend(rows: Path, *numbers: int) -> None:
    corpus = load_corpus(str(rows))
    for number in numbers:
        parts = split(corpus, number)
        digest, whole = parts.sealed.digest, parts.whole
        record_look(State.open(), digest, f"search {number}", whole, kind="search", splits=parts)


@pytest.mark.parametrize("line", COMMANDS)
def test_the_option_has_one_name_and_form_everywhere(line: str, cli: CommandLine) -> None:
    assert parse([*line.split(), "--text-split", "7"]).text_split == 7
    assert parse([*line.split(), "--text-split", "fresh"]).text_split == "fresh"
    for wrong in ("-1", "new", "1.5"):
        cli.refuses(f"{line} --text-split={wrong}", "or fresh")


def test_the_split_has_its_number_and_not_the_runs_seed(
    tiny_folder: Path, rows: Path, tmp_path: Path
) -> None:
    model = str(tiny_folder)
    plain = SearchParams(model=model, corpus=str(rows), seed=3)
    assert plain.spec().text_split == 0
    digests = set()
    for params in (plain, plain.model_copy(update={"seed": 8})):
        bench = SearchBench(
            model, State.open(tmp_path / "s"), params.seed, spec=params.spec(), run_id="r"
        )
        digests.add(bench.splits.digest)
    # What seed 0 has always given.
    assert digests == {split(load_corpus(str(rows)), 0).digest}
    other = plain.model_copy(update={"text_split": 5})
    bench = SearchBench(model, State.open(tmp_path / "s"), 3, spec=other.spec(), run_id="r")
    assert bench.splits.digest == split(load_corpus(str(rows)), 5).digest
    assert other.run_id() != plain.run_id()


def test_records_of_earlier_versions_keep_the_split_that_their_seed_gave(home: Path) -> None:
    old = SearchSpec(model="m", corpus="c", seed=4).to_json()
    del old["text_split"]
    assert SearchSpec.recorded(old).text_split == 4
    state = State.open()
    files = RunFiles.of(state, "old")
    files.folder.mkdir(parents=True)
    values = SearchParams(model="m", seed=4).to_json() | {"run": "old"}
    del values["text_split"]
    write_json(files.params, values)
    assert saved_params(state, "old").text_split == 4


def test_fresh_becomes_a_number_before_anything_is_named_by_it(
    tiny_folder: Path, rows: Path, home: Path, printed: list[str]
) -> None:
    model = str(tiny_folder)
    wish = SearchParams(model=model, corpus=str(rows), text_split="fresh")
    assert wish.run_id() == "tiny-s60-fresh"
    with pytest.raises(UsageError, match="looked up when a run starts"):
        wish.spec()
    spend(rows, 0, 2)
    found = settled(wish, model, str(rows))
    assert found.text_split == 1 and found.spec().text_split == 1
    assert printed[0].startswith("fresh: sealed set 1, no earlier look; ")
    # A named search goes on with the number that it was started with.
    named = wish.model_copy(update={"run": "mine"})
    files = RunFiles.of(State.open(), "mine")
    files.folder.mkdir(parents=True)
    write_json(files.params, found.to_json() | {"run": "mine"})
    spend(rows, 1)
    assert settled(named, model, str(rows)).text_split == 1
    # A command that was interrupted after its own look goes on with the same set ...
    assert settled(wish, model, str(rows)).text_split == 1
    other = wish.model_copy(update={"sparsity": 0.5})
    assert settled(other, model, str(rows)).text_split == 3
    # ... and once complete, it takes another one, which no unfinished command holds.
    forget_split(wish)
    assert settled(wish, model, str(rows)).text_split == 4
    assert settled(PromoteParams(), model, str(rows)).text_split is None
    # What an alias names may change before an interrupted promotion is repeated.
    gate = PromoteParams(text_split="fresh", corpus=str(rows))
    first = settled(gate, model, str(rows), of="m 3 against 1").text_split
    second = settled(gate, model, str(rows), of="m 4 against 1").text_split
    assert first != second
    assert settled(gate, model, str(rows), of="m 3 against 1").text_split == first
    forget_split(gate, of="m 3 against 1")
    assert settled(gate, model, str(rows), of="m 4 against 1").text_split == second


def test_fresh_is_kept_for_one_search_until_it_is_complete(
    tiny_folder: Path, rows: Path, home: Path
) -> None:
    model = str(tiny_folder)
    wish = SearchParams(model=model, corpus=str(rows), text_split="fresh")
    # Nobody has looked: a search does so at its end.
    first = settled(wish, model, str(rows))
    other = settled(wish.model_copy(update={"sparsity": 0.5}), model, str(rows))
    assert (first.text_split, other.text_split) == (0, 1)
    assert settled(wish, model, str(rows)) == first
    # `autoprune resume` has the number, and a name.
    resumed = first.model_copy(update={"run": first.run_id()})
    spend(rows, 0)
    forget_split(resumed, first.run_id())
    assert settled(wish, model, str(rows)).text_split == 2


def run(cli: CommandLine, line: str) -> tuple[dict[str, Any], str]:
    """The record that a command prints, and what it says while it works."""
    printed = cli(f"{line} --json")
    return printed.record, " ".join(printed.err.split())


def test_commands_warn_of_a_set_that_was_looked_at_and_record_the_count(
    rows: Path, cli: CommandLine
) -> None:
    spend(rows, 0, 1)
    warning = (
        "sealed set 1 of rows.jsonl was looked at once before, so its figures are not a "
        "first look; next: --text-split fresh takes a set that nobody looked at"
    )
    evaluate = f"evaluate MODEL --part sealed --measured-windows 2 --corpus {rows} --seqlen 32"
    seen, printed = run(cli, f"{evaluate} --text-split 1")
    assert warning in printed
    (known,) = seen["sealed_sets"].values()
    assert (known["number"], known["earlier"]) == (1, 1)
    fresh, printed = run(cli, f"{evaluate} --text-split fresh")
    (known,) = fresh["sealed_sets"].values()
    assert (known["number"], known["earlier"]) == (2, 0)
    assert "not a first look" not in printed and "fresh: sealed set 2, no earlier look" in printed
    assert not list((State.open().root / "fresh").iterdir())

    compare = f"{COMPARE} --corpus {rows} --text-split 1"
    table, printed = run(cli, compare)
    assert "sealed set 1 of rows.jsonl was looked at 2 times before" in printed
    assert table["protocol"]["sealed_set"]["earlier"] == 2
    (line,) = [value for name, value in table["protocol_lines"] if name == "sealed"]
    assert line.startswith("sealed set 1, 2 earlier looks")
    # Its own cells are no earlier looks, so that it goes on without a warning of itself.
    again, _ = run(cli, compare)
    assert again["protocol"]["sealed_set"]["earlier"] == 2 and again["measured"] == 0

    listed = {item["number"]: item for item in run(cli, "ls sealed")[0]["sealed"]}
    assert listed[1]["kinds"] == {"search": 1, "evaluate": 1, "compare": 2}
    assert listed[2]["looks"] == 1 and listed[0]["looks"] == 1
    text = cli("ls sealed").out
    assert "set 1" in text and "4 looks: compare 2, evaluate 1, search 1" in text


def test_fresh_reads_conversations_by_the_template_of_the_model(
    tiny_folder: Path, home: Path, tmp_path: Path
) -> None:
    model = tmp_path / "chatty"
    shutil.copytree(tiny_folder, model)
    template = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    (model / "chat_template.jinja").write_text(template, encoding="utf-8")
    rows = tmp_path / "chats.jsonl"
    lines = ({"messages": [{"role": "user", "content": f"ask {n} " * 30}]} for n in range(40))
    rows.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    corpus = f"{rows}#messages"
    wish = SearchParams(model=str(model), corpus=corpus, text_split="fresh")
    found = settled(wish, str(model), corpus)
    bench = SearchBench(str(model), State.open(), 0, spec=found.spec(), run_id="r")
    splits = bench.splits
    assert "[ask " in splits.sealed.text
    # The set that the run looks at is the one that was chosen, so the next run takes another.
    record_look(State.open(), splits.sealed.digest, "search r", splits.whole, splits=splits)
    forget_split(wish)
    assert (found.text_split, settled(wish, str(model), corpus).text_split) == (0, 1)


def test_suites_that_measure_on_sealed_text_take_the_split_and_warn_too(
    rows: Path, cli: CommandLine
) -> None:
    spend(rows, 1)
    suite = "--suite degenerate:items=2,prompt=8"
    seen, printed = run(cli, f"evaluate MODEL --corpus {rows} --text-split 1 {suite}")
    assert "sealed set 1 of rows.jsonl was looked at once before" in printed
    (known,) = seen["sealed_sets"].values()
    assert (known["number"], known["earlier"]) == (1, 1)


def test_another_seed_draws_other_calibration_windows_of_the_same_split(
    rows: Path, cli: CommandLine
) -> None:
    first, second = (
        run(cli, f"{COMPARE} --corpus {rows} --seed {seed}")[0]["protocol"] for seed in (0, 1)
    )
    assert first["splits_digest"] == second["splits_digest"]
    assert first["draw_digests"] != second["draw_digests"]


def test_what_a_killed_command_left_half_written_is_passed_over(
    rows: Path, tiny_folder: Path, home: Path
) -> None:
    params = SearchParams(model=str(tiny_folder), corpus=str(rows), text_split="fresh")
    found = settled(params, params.model, params.corpus)
    (home / "fresh" / ".half-abc.json").touch()
    assert settled(params, params.model, params.corpus) == found
    forget_split(params)
    assert [file.name for file in (home / "fresh").glob("*.json")] == [".half-abc.json"]


def test_conversations_are_read_with_the_models_template_wherever_they_are_named(
    tmp_path: Path, home: Path
) -> None:
    subject = tiny_subject()
    subject.tokenizer.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    save_model(subject.model, subject.tokenizer, tmp_path / "model", {})
    chats = tmp_path / "chats.jsonl"
    talk = [{"messages": [{"role": "user", "content": f"talk number {n}"}]} for n in range(20)]
    chats.write_text("".join(json.dumps(row) + "\n" for row in talk))
    check_independent(State.open(home), str(chats), str(tmp_path / "model"))
    store = Store(tmp_path / "store")
    assert referenced_text([str(chats)], store, subject.tokenizer).digest
