"""Token windows: consecutive, non-overlapping, from the start of the text; kept in Parquet."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from torch import Tensor

from autoprune.calibration.corpora import Corpus
from autoprune.calibration.store import Store
from autoprune.digest import digest_json
from autoprune.errors import UsageError

# Tokenisers look a word or two ahead; the last tokens of a cut text may change with what follows.
_MARGIN_TOKENS = 64
_CHARACTERS_PER_TOKEN = 6


def token_windows(
    corpus: Corpus,
    tokenizer: Any,
    count: int,
    seqlen: int,
    *,
    cache: Store | None = None,
) -> Tensor:
    """The first ``count`` windows of the corpus, fewer where the text ends before.

    Args:
        corpus: Documents, joined as it says and tokenised as one text.
        tokenizer: A transformers tokenizer; its special tokens stand where it puts them.
        count: Windows wanted.
        seqlen: Tokens of a window.
        cache: Keeps the windows as Parquet.

    Returns:
        Token ids, int64 ``[windows, seqlen]``.

    Raises:
        UsageError: If the text is shorter than one window, or a number is not positive.
        DamagedFileError: If the cached file is damaged.
    """
    if count < 1 or seqlen < 2:
        raise UsageError(
            f"{count} windows of {seqlen} tokens cannot be drawn; take at least 1 window of 2"
        )
    if cache is None:
        return _cut(corpus, tokenizer, count, seqlen)
    key = {
        "kind": "windows",
        "version": 1,
        "corpus": corpus.digest,
        "tokenizer": _tokenizer_digest(tokenizer),
        "count": count,
        "seqlen": seqlen,
    }

    def write(path: Path) -> None:
        write_windows(_cut(corpus, tokenizer, count, seqlen), path)

    return read_windows(cache.file(key, ".parquet", write)[0])


def write_windows(windows: Tensor, path: Path) -> None:
    """Write windows as Parquet: one row each, column ``tokens``, a fixed-size list of int32."""
    flat = pyarrow.array(windows.reshape(-1).to(torch.int32).numpy())
    column = pyarrow.FixedSizeListArray.from_arrays(flat, windows.shape[1])
    table = pyarrow.table({"tokens": column})
    pyarrow.parquet.write_table(table, path, compression="zstd")


def read_windows(path: Path) -> Tensor:
    """Inverse of :func:`write_windows`; int64 ``[windows, seqlen]``."""
    column = pyarrow.parquet.read_table(path).column("tokens").combine_chunks()
    values = np.asarray(column.flatten(), dtype=np.int64)
    return torch.from_numpy(values.reshape(len(column), -1))


def _cut(corpus: Corpus, tokenizer: Any, count: int, seqlen: int) -> Tensor:
    text = corpus.text
    needed = count * seqlen + _MARGIN_TOKENS
    characters = needed * _CHARACTERS_PER_TOKEN
    while True:
        ids = tokenizer(text[:characters], verbose=False)["input_ids"]
        if len(ids) >= needed or characters >= len(text):
            break
        characters *= 2
    windows = min(count, len(ids) // seqlen)
    if windows == 0:
        raise UsageError(
            f"the corpus {corpus.name!r} has {len(ids)} tokens, which is shorter than one window "
            f"of {seqlen}; give a longer text or a smaller sequence length"
        )
    return torch.tensor(ids[: windows * seqlen], dtype=torch.int64).reshape(windows, seqlen)


def _tokenizer_digest(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return digest_json([type(tokenizer).__name__, backend.to_str()])
    return digest_json([type(tokenizer).__name__, tokenizer.get_vocab()])
