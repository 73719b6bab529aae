"""Non-overlapping token windows, each with its model's beginning tokens; stored as Parquet."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from torch import Tensor

from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.store import Store
from autoprune.text.beginning import beginning_ids
from autoprune.text.corpus import READ_CHARACTERS, Corpus
from autoprune.text.spread import spread_order, stream_of

# Increase this when different windows are cut from the same text. 2: each window starts with the
# beginning token, and the windows of a part are spread over all of its documents.
WINDOWS_VERSION = 2
# Tokenisers look a word or two ahead, so the last tokens of a cut text may depend on what follows.
_MARGIN_TOKENS = 64
_CHARACTERS_PER_TOKEN = 6


def token_windows(
    corpus: Corpus,
    tokenizer: Any,
    count: int,
    seqlen: int,
    *,
    cache: Store | None = None,
    each_begins: bool = True,
) -> Tensor:
    """Cut up to ``count`` windows from the corpus.

    Windows are consecutive from the start of the text or, if the corpus says so, spread over all
    of its documents; then a larger draw starts with the windows of a smaller one, unless it is so
    large (some 700,000 tokens) that more of the text is read for it.
    """
    beginning = beginning_ids(tokenizer) if each_begins else []
    least = max(2, len(beginning) + 1)
    if count < 1 or seqlen < least:
        raise UsageError(
            f"{count} windows of {seqlen} tokens cannot be drawn; take at least 1 window of {least}"
        )

    def cut() -> Tensor:
        taken = _spread if corpus.spread else _consecutive
        special = not each_begins
        ids = taken(corpus, tokenizer, count, seqlen - len(beginning), special)
        before = torch.tensor(beginning, dtype=torch.int64).expand(len(ids), -1)
        return torch.cat([before, ids], dim=1)

    if cache is None:
        return cut()
    key = {
        "kind": "windows",
        "version": WINDOWS_VERSION,
        "corpus": corpus.digest,
        "spread": corpus.spread,
        "places": digest_json(corpus.places) if corpus.spread else None,
        "tokenizer": _backend_digest(tokenizer),
        "beginning": beginning if each_begins else "once",
        "count": count,
        "seqlen": seqlen,
    }

    def write(path: Path) -> None:
        write_windows(cut(), path)

    return read_windows(cache.file(key, ".parquet", write)[0])


def rendering_digest(tokenizer: Any) -> str:
    """SHA-256 of a tokenizer with its chat template: what turns texts and messages into tokens.

    Padding and truncation are left out, because calls of the tokenizer change them.
    """
    text = backend_rules(tokenizer)
    rules = tokenizer.get_vocab() if text is None else json.loads(text)
    template = getattr(tokenizer, "chat_template", None)
    return digest_json([type(tokenizer).__name__, rules, tokenizer.special_tokens_map, template])


def fewer_than_asked(what: str, found: int, asked: int, seqlen: int) -> str:
    """A note if a text has fewer windows than requested; empty if it has enough."""
    if found >= asked:
        return ""
    return (
        f"{what} holds {found} windows of {seqlen} tokens and {asked} are asked for: figures are "
        f"of all {found}; a longer text or a smaller --seqlen gives more"
    )


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


def _consecutive(corpus: Corpus, tokenizer: Any, count: int, length: int, special: bool) -> Tensor:
    """Text tokens of the first windows, int64 [windows, length]."""
    text = corpus.text
    needed = count * length + _MARGIN_TOKENS
    characters = needed * _CHARACTERS_PER_TOKEN
    while True:
        ids = _encoded(tokenizer, text[:characters], special)["input_ids"]
        if len(ids) >= needed or characters >= len(text):
            break
        characters *= 2
    return _rows(corpus, ids, length)[:count]


def _spread(corpus: Corpus, tokenizer: Any, count: int, length: int, special: bool) -> Tensor:
    """Text tokens of windows from all documents, int64 [windows, length]."""
    wanted = 2 * count * length * _CHARACTERS_PER_TOKEN
    stream = stream_of(corpus, max(READ_CHARACTERS, wanted))
    encoded = _encoded(tokenizer, stream.text, special)
    rows = _rows(corpus, encoded["input_ids"], length)
    # A window belongs to the document that contains its middle.
    middles = (row * length + length // 2 for row in range(len(rows)))
    owners = [stream.document(_character(encoded, token, stream.text)) for token in middles]
    return rows[spread_order(owners, corpus.spread)[:count]]


def _encoded(tokenizer: Any, text: str, special: bool) -> Any:
    return tokenizer(text, add_special_tokens=special, verbose=False)


def _character(encoded: Any, token: int, text: str) -> int:
    """Position of a token in the text; approximate for tokenizers without offsets."""
    if encoded.is_fast:
        span = encoded.token_to_chars(token)
        return 0 if span is None else int(span.start)
    return token * len(text) // len(encoded["input_ids"])


def _rows(corpus: Corpus, ids: list[int], length: int) -> Tensor:
    windows = len(ids) // length
    if windows == 0:
        raise UsageError(
            f"the corpus {corpus.name!r} has {len(ids)} tokens, which is shorter than one window "
            f"of {length}; give a longer text or a smaller sequence length"
        )
    return torch.tensor(ids[: windows * length], dtype=torch.int64).reshape(windows, length)


def backend_rules(tokenizer: Any) -> str | None:
    """What turns text into tokens, without padding and truncation, which calls of it change."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    text: str = backend.to_str()
    if backend.padding is None and backend.truncation is None:
        return text
    plain = type(backend).from_str(text)
    plain.no_padding()
    plain.no_truncation()
    return str(plain.to_str())


def _backend_digest(tokenizer: Any) -> str:
    rules = backend_rules(tokenizer)
    return digest_json(
        [type(tokenizer).__name__, tokenizer.get_vocab() if rules is None else rules]
    )
