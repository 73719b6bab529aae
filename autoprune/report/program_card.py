"""The model card of a folder pruned by a program: facts, code, how to reproduce it."""

import shlex
from collections.abc import Mapping
from typing import Any

from autoprune.models.licence import card_header, how_to_open, opener, terms_of
from autoprune.plain_text import in_fence, shell_line
from autoprune.program_files import prunes_blocks
from autoprune.report.benefit import speed, what_it_writes

SOURCE_FILE = "program.py"
_TEXT = """\
{header}

# {model} pruned by a program

{sparsity:.2%} of the prunable weights are zero ({pattern}, compared by {group}, allocation
{allocation}), repair {solver}. The weights were chosen and moved by the {form} program `{name}`,
SHA-256 `{digest}`, on {samples} windows of {seqlen} tokens of {corpus}. {opener}.
{benefit}.

{opens}

{source}

Again, to the bit on the same machine with the same versions:

```
{again} \\
  --calibration-windows {samples} --seqlen {seqlen} --seed {seed}{more} --out AGAIN
```

`autoprune.json` holds the whole record, `{file}` the program. It is code that a model or a person
wrote: AutoPrune runs it in a locked container and nowhere else.
{writes}
Licence of the base model: {terms}.
"""


def program_card(record: Mapping[str, Any], licence: str, size: str = "") -> str:
    """Text of the card."""
    program = record["program"]
    structured = record["pattern"] != "unstructured"
    budget = ("--pattern", record["pattern"]) if structured else ("--sparsity", record["target"])
    again = shell_line("prune", record["model"], "--program", SOURCE_FILE, *budget)
    others = ((o, record.get(key, usual), usual) for o, key, usual in _OPTIONS)
    more = "".join(f" --{o} {shlex.quote(value)}" for o, value, usual in others if value != usual)
    if "true-sequential" in record["statistics"]:
        more += " --statistics true-sequential"
    known = {key: record[key] for key in _KEYS}
    return _TEXT.format(
        **known,
        header=card_header(licence, record),
        terms=terms_of(licence),
        benefit=". ".join(filter(None, (size, speed(record["pattern"])))),
        name=program["name"],
        form="block" if prunes_blocks(program["source"]) else "layer",
        digest=program["digest"],
        source=in_fence(program["source"]),
        again=f"{again} --corpus {shlex.quote(record['corpus'])}",
        more=more,
        opener=opener(record),
        opens=how_to_open(record),
        writes=f"\n{what_it_writes(record)}\n" if "writes" in record else "",
        file=SOURCE_FILE,
    )


_OPTIONS = (
    ("group", "group", "row"),
    ("allocation", "allocation", "uniform"),
    ("repair", "solver", "none"),
    ("dtype", "dtype_asked", "auto"),
    ("held-out", "held_out", None),
)
_KEYS = (
    "model", "sparsity", "pattern", "group", "allocation", "solver", "samples", "seqlen", "corpus",
    "seed",
)  # fmt: skip
