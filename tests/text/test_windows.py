"""Windows equal those cut from the whole text's tokens; Parquet keeps them exactly."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from autoprune.errors import DamagedFileError, UsageError
from autoprune.store import Store
from autoprune.text.corpora import Corpus
from autoprune.text.windows import read_windows, token_windows, write_windows

_WORDS = ["[UNK]", "[BOS]", *(f"w{i}" for i in range(50))]


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate(_WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


@pytest.fixture
def corpus() -> Corpus:
    return Corpus.of("c", [" ".join(f"w{(i * j) % 50}" for i in range(90)) for j in range(40)])


@pytest.mark.parametrize(("count", "seqlen"), [(1, 2), (5, 16), (40, 64), (1000, 7)])
def test_equal_those_of_the_whole_text(
    tokenizer: PreTrainedTokenizerFast, corpus: Corpus, count: int, seqlen: int
) -> None:
    whole = tokenizer(corpus.text)["input_ids"]
    expected = min(count, len(whole) // seqlen)
    windows = token_windows(corpus, tokenizer, count, seqlen)
    assert windows.dtype == torch.int64
    assert windows.tolist() == [whole[i * seqlen : (i + 1) * seqlen] for i in range(expected)]


def test_parquet_round_trip_and_cache(
    tokenizer: PreTrainedTokenizerFast, corpus: Corpus, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    first = token_windows(corpus, tokenizer, 4, 32, cache=store)
    path = next(tmp_path.rglob("*.parquet"))
    written = path.stat().st_mtime_ns
    assert torch.equal(token_windows(corpus, tokenizer, 4, 32, cache=store), first)
    assert path.stat().st_mtime_ns == written
    assert pq.read_table(path).num_rows == 4
    write_windows(first, tmp_path / "again.parquet")
    assert torch.equal(read_windows(tmp_path / "again.parquet"), first)
    path.write_bytes(path.read_bytes()[:-3] + b"xxx")
    with pytest.raises(DamagedFileError, match=path.name):
        token_windows(corpus, tokenizer, 4, 32, cache=store)


def test_a_text_shorter_than_one_window_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    short = Corpus.of("short.txt", ["w1 w2 w3"])
    with pytest.raises(UsageError, match=r"'short\.txt' has 3 tokens, .* one window of 512"):
        token_windows(short, tokenizer, 4, 512)
    with pytest.raises(UsageError, match="0 windows"):
        token_windows(short, tokenizer, 0, 512)
