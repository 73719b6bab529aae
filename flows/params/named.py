"""Checks that everything a request names exists, before anything is started or created.

Bare names are looked up in :mod:`autoprune.names`; only texts with parameters, formulas or several
parts go to their own parser, which imports torch. Nothing here reads a model or fetches a text.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from autoprune.candidate import FORMULA_PREFIX, Group, Scoring, StatisticsOf
from autoprune.errors import UnknownNameError, UsageError
from autoprune.names import (
    AUTO,
    BUILT_IN,
    DENSE,
    HUB,
    HUB_FORM,
    UNSTRUCTURED,
    known,
    plugins,
    require_saved,
)
from autoprune.program_files import (
    PROGRAM_PREFIX,
    declared_constants,
    in_file,
    is_program,
    metric_source,
    program_source,
)
from autoprune.spelling import split_outside, split_text
from flows import library
from flows.params.fields import suite_names
from tasks.switches import DEVICE_VARIABLE

CPU = "cpu"
FILES = (".txt", ".json", ".jsonl", ".parquet")


def check_models(*refs: str) -> None:
    """Check that every model is on this machine or known to the hub."""
    for ref in refs:
        library.check_reference(ref)


def check_corpora(*refs: str, files: bool = True) -> None:
    """Check that every text is a known name, an existing file or a well-formed reference."""
    for ref in refs:
        file = ref if Path(ref).suffix in FILES else ref.rpartition("#")[0]
        if ref.startswith(HUB):
            library.HubRows.from_text(ref)
        elif Path(file).suffix in FILES:
            path = Path(file).expanduser()
            if files and not path.is_file():
                raise UsageError(f"the corpus file {file!r} does not exist; check the path")
            if files and not path.stat().st_size:
                raise UsageError(f"the corpus file {file!r} is empty; name one that holds text")
        elif not ref.startswith("self-generated:"):
            _check_corpus_name(ref)


def check_device(name: str | None = None) -> None:
    """Check that the device to compute on exists."""
    named = name or os.environ.get(DEVICE_VARIABLE)
    if named and named != CPU:
        known("device", named.partition(":")[0])
        library.require_device(named)


def check_pattern(
    pattern: str, sparsity: float | None = None, others: Sequence[float] = ()
) -> None:
    """Check that the pattern is possible and agrees with the share of zeros."""
    if pattern == UNSTRUCTURED:
        return
    library.resolve_sparsity(sparsity, library.parse_pattern(pattern))
    if others:
        raise UsageError(
            f"also_sparsities {', '.join(f'{share:g}' for share in others)}: the pattern {pattern} "
            "fixes the share of zeros; leave them out, or leave out pattern"
        )


def check_metric(text: str) -> None:
    """Check that the metric is a known name, a formula, a file or a program."""
    if is_program(text):
        declared_constants(program_source(text.removeprefix(PROGRAM_PREFIX)))
    elif in_file(text):
        metric_source(Path(text))
    elif text.startswith(FORMULA_PREFIX) or not _bare(text) or not known("metric", text):
        _check_name("metric", text)
        library.build_metric(text)


def check_allocation(text: str) -> None:
    """Check that the allocation is a known name with parameters that it has."""
    if text == AUTO or (_bare(text) and known("allocator", text)):
        return
    if not text.startswith(f"{AUTO}:"):
        _check_name("allocator", text)
    if library.auto_grid(text) is None:
        library.build_allocator(text)


def check_repairs(texts: Iterable[str]) -> None:
    """Check that every repair is made of known names that go together."""
    for text in texts:
        if _bare(text) and known("repair", text):
            continue
        for part in text.split("+"):
            _check_name("repair", part.strip())
        library.Repair.parse(text)


def check_scheme(text: str) -> None:
    """Check that a scheme and its repair are known names, with parameters that they have."""
    for part in split_outside(text, "+"):
        require_saved(name := part.partition(":")[0].strip())
        if name not in BUILT_IN["repair"][1]:
            _check_name("scheme", part.strip())
    if not (_bare(text) and known("scheme", text)):
        library.Shrinking.parse(text)


def check_searched_scheme(text: str) -> None:
    """Check a scheme of a search, whose repairs are an option of their own."""
    check_scheme(text)
    if _bare(text):
        return
    made = library.Shrinking.parse(text)
    if made.repair.acts:
        raise UsageError(
            f"the scheme {text!r} has a repair, and a search has an option for those: --schemes "
            f"{made.scheme.text} --repairs none,{made.repair.text}"
        )


def check_methods(texts: Iterable[str], statistics: StatisticsOf) -> None:
    """Check that every line ``METRIC+PART+...`` can be parsed."""
    names = {*get_args(Group), *get_args(Scoring)}
    for kind in ("allocator", "repair"):
        names |= set(BUILT_IN[kind][1])
    rest = []
    for text, _ in map(split_text, texts):
        head, *parts = split_outside(text, "+")
        if head.partition(":")[0] in BUILT_IN["scheme"][1] or plugins("scheme"):
            rest.append(text)
            continue
        if ":" not in head:
            _check_name("metric", head)
        for name in (part.partition(":")[0] for part in parts):
            if name not in names and not (plugins("allocator") or plugins("repair")):
                raise UnknownNameError("part of a method", name, names)
        if not _bare(text):
            rest.append(text)
    if rest:
        library.parse_methods(rest, statistics)


def check_baselines(
    baselines: Sequence[str],
    methods: Sequence[str],
    texts: Iterable[str],
    statistics: StatisticsOf,
) -> None:
    """Check that every baseline is one of the methods, or ``dense``."""
    heads = {_head(method) for method in methods}
    unclear = []
    for text in baselines:
        name = _head(text)
        if name in BUILT_IN["metric"][1] and name not in heads:
            raise UsageError(
                f"the baseline {text!r} is not compared; allowed are "
                f"{', '.join((DENSE, *methods))}; add it to --methods"
            )
        if text not in (DENSE, *methods):
            unclear.append(text)
    if unclear:
        names = [method.name for method in library.parse_methods(methods, statistics)]
        names += [f"{name}@{text}" for text in texts for name in names if "@" not in name]
        library.named_baselines(unclear, names, statistics)


def _head(method: str) -> str:
    """The metric of a method, without parts and calibration text."""
    return split_outside(split_text(method)[0], "+")[0].strip()


def check_suites(text: str) -> None:
    """Check that every suite of a list such as ``lm,tasks:names=boolq,limit=100`` exists."""
    names = suite_names(text)
    if not names:
        raise UsageError(f"no suite in {text!r}; name at least one, for example lm,tasks")
    for name in names:
        if not known("suite", name):
            library.SUITES.get(name)


def _check_corpus_name(ref: str) -> None:
    try:
        found = known("corpus", ref)
    except UnknownNameError as error:
        raise UsageError(f"{error}; or {HUB_FORM}, or a {', '.join(FILES)} file") from None
    if not found:
        library.CORPORA.get(ref)


def _bare(text: str) -> bool:
    return bool(text.strip()) and not set(text) & set(":+(")


def _check_name(kind: str, text: str) -> None:
    """Refuse an unknown name before parameters, without using its parser."""
    name = text.partition(":")[0].strip()
    if name and f"{name}:" != FORMULA_PREFIX and _bare(name) and not in_file(name):
        known(kind, name)
