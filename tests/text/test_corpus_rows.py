"""Rows read by the real package ``datasets``; a local folder stands for an id of the hub."""

import gzip
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import PreTrainedTokenizerFast

from autoprune.errors import UsageError
from autoprune.store import Store
from autoprune.text import rows
from autoprune.text.beginning import beginning_rule
from autoprune.text.corpora import Corpus, load_corpus
from autoprune.text.hub import TEXTS
from autoprune.text.rows import HubRows
from autoprune.text.splits import split
from autoprune.text.windows import token_windows
from tests.support.tiny_subject import byte_tokenizer
from tests.support.tiny_texts import with_beginning

TALK = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Ho!"}]
TEMPLATE = "<s>{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
README = """---
configs:
- {config_name: short, data_files: [{split: train, path: short/train.jsonl}]}
- {config_name: long, data_files: [{split: train, path: long/train.jsonl},
                                   {split: test, path: long/test.jsonl}]}
---
"""


def jsonl(path: Path, values: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "org" / "name"
    for name, count in (("short/train", 3), ("long/train", 40), ("long/test", 5)):
        entries = [{"text": f"{name} {n}", "body": f"body {n}", "talk": TALK} for n in range(count)]
        jsonl(place / f"{name}.jsonl", entries)
    (place / "README.md").write_text(README)
    return place


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("short:train#text", [f"short/train {n}" for n in range(3)]),
        ("short:train", [f"short/train {n}" for n in range(3)]),
        ("long:test#body", [f"body {n}" for n in range(5)]),
        ("long:train[2:4]#text", ["long/train 2", "long/train 3"]),
        ("long:train[:2]", ["long/train 0", "long/train 1"]),
        ("long:train[38:]", ["long/train 38", "long/train 39"]),
        ("long:test[:40%]#text", ["long/test 0", "long/test 1"]),
    ],
)
def test_configuration_split_slice_and_column(folder: Path, rest: str, expected: list[str]) -> None:
    corpus = load_corpus(f"hf:{folder}:{rest}")
    assert list(corpus.documents) == expected
    assert not corpus.ordered and not corpus.test
    assert corpus.name == f"hf:{folder}:{rest}"


def test_a_data_set_without_configurations_needs_none(tmp_path: Path) -> None:
    place = tmp_path / "plain"
    place.mkdir()
    pq.write_table(pa.table({"text": ["one", None, "two"]}), place / "train.parquet")
    assert load_corpus(f"hf:{place}:train").documents == ("one", "two")


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("", "is not of the form hf:ORG/NAME"),
        (":long:train:more#text", "is not of the form"),
        (":long:nosuch", "Bad split: nosuch"),
        (":nosuch:train", "'nosuch' not found"),
        (":long:train#nosuch", "no column 'nosuch', only text, body, talk"),
    ],
)
def test_a_wrong_reference_says_what_is_wrong(folder: Path, rest: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_corpus(f"hf:{folder}{rest}")


def test_a_large_data_set_is_read_as_far_as_its_bound(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_CHARACTERS", 10 * len("long/train 0"))
    assert len(load_corpus(f"hf:{folder}:long:train").documents) == 10
    # A slice says how much itself.
    assert len(load_corpus(f"hf:{folder}:long:train[:30]").documents) == 30
    talks = folder.with_name("talks")
    jsonl(talks / "train.jsonl", [{"messages": TALK}] * 40)
    monkeypatch.setattr(rows, "MOST_CHARACTERS", 10 * len(str(TALK)))
    assert len(load_corpus(f"hf:{talks}:train", tokenizer=chatting()).documents) == 10


def chatting() -> PreTrainedTokenizerFast:
    tokenizer = with_beginning(byte_tokenizer())
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.mark.parametrize("kind", ["hf", "jsonl", "parquet"])
def test_messages_go_through_the_chat_template_and_begin_once(folder: Path, kind: str) -> None:
    ref = f"hf:{folder}:long:train#talk"
    if kind != "hf":
        path = folder / f"talks.{kind}"
        if kind == "jsonl":
            jsonl(path, [{"talk": TALK}] * 40)
        else:
            pq.write_table(pa.table({"talk": [TALK] * 40}), path)
        ref = f"{path}#talk"
    tokenizer = chatting()
    corpus = load_corpus(ref, tokenizer=tokenizer)
    assert corpus.documents == ("[user]Hi?[assistant]Ho!",) * 40
    windows = token_windows(corpus, tokenizer, 5, 60)
    assert beginning_rule(tokenizer) == "<s>"
    assert (windows[:, 0] == 0).all() and (windows[:, 1:] != 0).all()


def test_messages_need_a_template(folder: Path) -> None:
    for tokenizer in (None, byte_tokenizer()):
        with pytest.raises(UsageError, match="holds conversations, and the model here has no chat"):
            load_corpus(f"hf:{folder}:long:train#talk", tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("talk", "message"),
    [
        ([{"role": "system", "content": "Be brief."}, *TALK],
         r"refuses .* with the roles system, user, assistant \(System role not supported\)"),
        ([{"role": "user", "content": ["Hi?"]}], r"refuses .* with the roles user \(can only"),
        ([], r"holds '\[\]', which is neither"),
    ],
)  # fmt: skip
def test_a_conversation_that_the_template_refuses_is_named(
    talk: list[dict[str, Any]], message: str, tmp_path: Path
) -> None:
    tokenizer, path = chatting(), tmp_path / "talks.jsonl"
    jsonl(path, [{"messages": talk}])
    tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{{ '[' + messages[0].content }}"
    )
    with pytest.raises(UsageError, match=message) as refused:
        load_corpus(str(path), tokenizer=tokenizer)
    assert f"{path} row 1" in str(refused.value)


def test_rows_of_the_hub_are_kept_and_rendered_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, tokenizer = Store(tmp_path / "store"), chatting()
    # The reference of a hub, which is no folder here: relative to another working directory.
    monkeypatch.chdir(folder.parent.parent)
    found = HubRows.from_text("hf:org/name:long:train#talk")
    monkeypatch.setattr(Path, "exists", hides(folder.name, Path.exists))
    first = found.corpus("x", tokenizer, store)
    for file in folder.rglob("*.jsonl"):
        file.unlink()
    assert found.corpus("x", tokenizer, store) == first
    tokenizer.chat_template = "{{ messages[0].content }}"
    assert found.corpus("x", tokenizer, store).documents[0] == "Hi?"


def hides(name: str, exists: Callable[[Path], bool]) -> Callable[[Path], bool]:
    """``Path.exists``, which does not see the stand-in for the hub."""
    return lambda path: path.name != name and exists(path)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.name)
def test_named_texts_are_read_as_papers_read_them(text: Any, tmp_path: Path) -> None:
    """The same request to ``datasets``, with a local folder in the place of the id."""
    place, documents = tmp_path / "hub", [f"document {n}" for n in range(6)]
    values = [{text.column: document, "other": 1} for document in documents]
    file = text.file or "data/part.parquet"
    (place / file).parent.mkdir(parents=True)
    if file.endswith(".json.gz"):
        lines = "".join(json.dumps(value) + "\n" for value in values)
        (place / file).write_bytes(gzip.compress(lines.encode()))
    else:
        pq.write_table(pa.Table.from_pylist(values), place / file)
    if text.config:
        files = f"data_files: [{{split: {text.split}, path: {file}}}]"
        header = f"---\nconfigs:\n- {{config_name: {text.config}, {files}}}\n---\n"
        (place / "README.md").write_text(header)
    # Another slice, where the text is one: the folder has six documents.
    part = text.split.partition("[")[0]
    wanted = 4 if "[" in text.split else 6
    local = replace(text, dataset=str(place), split=f"{part}[:4]" if wanted == 4 else part)
    store = Store(tmp_path / "store")
    corpus = local(store)
    assert list(corpus.documents) == documents[:wanted]
    assert corpus.text == text.joint.join(documents[:wanted])
    assert bool(corpus.calibration_notes()) == corpus.test == text.test
    # Once fetched, it is there without its source, and its parts are joined as the whole is.
    (place / file).unlink()
    assert local(store) == corpus
    assert split(corpus).sealed.joint == text.joint
    other = Corpus.of(text.name, corpus.documents, joint="\n\n" if text.joint == " " else " ")
    assert other.digest != corpus.digest


def test_papers_texts_are_named_as_on_the_hub() -> None:
    asked = {text.name: (text.dataset, text.config, text.split, text.file) for text in TEXTS}
    c4, ptb = "allenai/c4", "ptb-text-only/ptb_text_only"
    wikitext = ("Salesforce/wikitext", "wikitext-2-raw-v1")
    assert asked == {
        "c4": (c4, None, "train[:4000]", "en/c4-train.00000-of-01024.json.gz"),
        "c4-validation": (
            c4, None, "validation[:1100]", "en/c4-validation.00000-of-00008.json.gz",
        ),
        "wikitext2": (*wikitext, "test", None),
        "wikitext2-train": (*wikitext, "train", None),
        "ptb": (ptb, None, "test", "penn_treebank/test/0000.parquet"),
        "ptb-train": (ptb, None, "train", "penn_treebank/train/0000.parquet"),
    }  # fmt: skip
    revisions = {text.name: text.request().get("revision") for text in TEXTS}
    assert {name for name, value in revisions.items() if value} == {"ptb", "ptb-train"}
    assert revisions["ptb"] == "refs/convert/parquet"
