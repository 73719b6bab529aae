"""Corpora: files stay what they are, mistakes are named, the demo's text is prose."""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autoprune.errors import DamagedFileError, PrerequisiteError, UsageError
from autoprune.store import Store
from autoprune.text.corpora import CORPORA, Corpus, corpus_summary, load_corpus
from autoprune.text.wikipedia import strip_markup


def test_a_text_file_keeps_every_character(tmp_path: Path) -> None:
    text = "One.\n\n\nTwo with  spaces.\n\n Three\n"
    path = tmp_path / "book.txt"
    path.write_text(text)
    corpus = load_corpus(str(path))
    assert corpus.text == text
    assert corpus.ordered
    assert corpus.name == "book.txt"


def test_json_jsonl_and_parquet_hold_the_same_documents(tmp_path: Path) -> None:
    documents = ["First document.", "Zweites: äöü.", "Third\nline."]
    rows = [{"text": document, "id": 1} for document in documents]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    (tmp_path / "d.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    pq.write_table(pa.table({"id": [1, 2, 3], "text": documents}), tmp_path / "d.parquet")
    found = [load_corpus(str(tmp_path / f"d.{kind}")) for kind in ("json", "jsonl", "parquet")]
    for jsonl in found:
        assert jsonl.documents == tuple(documents)
        assert jsonl.digest == found[0].digest
    assert jsonl.digest != Corpus.of("x", documents[::-1]).digest


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "fine"}\n{"body": "x"}\n', "row 2 is not an object"),
        ("a.jsonl", b"not json\n", r"a\.jsonl cannot be read \(.*each line must be one object"),
        ("a.json", b'[{"text": "fine"}, {"text": ', r"a\.json cannot be read"),
        ("a.jsonl", b"", "holds no text"),
        ("a.jsonl", b'{"text": [1, 2]}\n', "neither a text nor a list of messages"),
        ("a.txt", b"", "holds no text"),
        ("a.txt", b"\xff\xfe\xfa", "not UTF-8"),
        ("a.parquet", b"PAR?", "a.parquet cannot be read"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        load_corpus(str(tmp_path / name))


def test_a_parquet_file_without_text_says_what_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="only body; name one with #COLUMN"):
        load_corpus(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("ref", ["wikitext", "nosuch", "missing.txt", "folder/", ""])
def test_an_unknown_corpus_is_refused(ref: str) -> None:
    with pytest.raises(UsageError, match=r"unknown corpus|does not exist"):
        load_corpus(ref)
    if ref == "wikitext":
        with pytest.raises(UsageError, match="did you mean wikitext2"):
            load_corpus(ref)


def test_the_registry_says_what_each_text_is_for() -> None:
    shown = {name: corpus_summary(entry) for name, entry in CORPORA.items()}
    for name in ("c4-validation", "wikitext2", "ptb"):
        assert shown[name].startswith("For figures: ")
    for name in ("c4", "wikitext2-train", "ptb-train", "self-generated"):
        assert shown[name].startswith("To calibrate")
    assert shown["wikipedia-sample"].startswith("For both")


def test_no_network_is_a_missing_prerequisite() -> None:
    with pytest.raises(PrerequisiteError, match="unset HF_HUB_OFFLINE"):
        load_corpus("wikitext2")


def test_markup_becomes_prose() -> None:
    pytest.importorskip("mwparserfromhell")
    markup = (
        "{{Infobox|a=b}}'''Ant''' ({{lang|grc|x}}; ) is an [[insect]].<ref>{{cite|A}}</ref>\n"
        "[[File:ant.jpg|thumb|A [[small]] ant]]\n"
        "== Life ==\nIt lives.\n{| class=x\n|cell\n|}\n=== Food ===\n* Leaves\n"
        "== See also ==\n* [[Bee]]\n== Notes ==\n<references/>\n== End ==\nLast.\n"
        "[[Category:Ants]] [[de:Ameise]]"
    )
    text = strip_markup(markup)
    for gone in (
        "cite",
        "thumb",
        "cell",
        "Bee",
        "Category",
        "Ameise",
        "()",
        "'''",
        "(;",
        "Infobox",
    ):
        assert gone not in text, text
    for kept in ("Ant is an insect.", "Life", "It lives.", "Leaves", "Last."):
        assert kept in text, text


def test_markup_that_was_never_closed_goes_too() -> None:
    pytest.importorskip("mwparserfromhell")
    broken = "A bank.<ref>{{cite web |url=x\nMore [[good|fine]] text.\n| bgcolor=x | [[y|W\nEnd."
    text = strip_markup(broken)
    assert not any(mark in text for mark in ("<ref", "{{", "[[", "bgcolor")), text
    assert text.startswith("A bank.")
    assert "End." in text


@pytest.mark.demo
def test_the_sample_is_cached_checked_and_never_imports_gensim(tmp_path: Path) -> None:
    store = Store(tmp_path)
    corpus = load_corpus("wikipedia-sample", cache=store)
    assert len(corpus.documents) > 80
    assert 2_000_000 < len(corpus.text) < 3_500_000
    assert not any(mark in corpus.text for mark in ("[[", "{{", "<ref", "'''", "\n|"))
    assert load_corpus("wikipedia-sample", cache=store) == corpus
    assert "gensim" not in sys.modules
    cached = next(tmp_path.rglob("*.jsonl"))
    cached.write_text(cached.read_text()[:-100])
    with pytest.raises(DamagedFileError, match=cached.name):
        load_corpus("wikipedia-sample", cache=store)
