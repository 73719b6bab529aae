"""Bad input for the engine through the command line: a clear error, or a fallback with a note."""

import itertools
from typing import Any

import pytest

from autoprune.allocation import ALLOCATORS
from autoprune.errors import UsageError
from autoprune.metrics import METRICS
from autoprune.repair import REPAIRS
from tests.support.command_line import PRUNE, CommandLine

SMALL = f"{PRUNE} --seqlen 32"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("--allocation given:0.5/0.6/0.7", ["3 rates", "2 (one per block)", "14"]),
        ("--allocation given:0.5/1.6", ["1.6", "0 ≤ rate ≤ 1"]),
        ("--pattern 3:7", ["not a multiple of 7", "q_proj"]),
        ("--repair alps:damp=0", ["damp=0", "above 0"]),
        ("--statistics true-sequential --group block", ["prunes them in steps"]),
    ],
)
def test_a_clear_error(cli: CommandLine, words: str, parts: list[str]) -> None:
    cli.refuses(f"{SMALL} {words}", *parts)


def test_a_singular_gram_matrix_is_damped_with_a_note(cli: CommandLine) -> None:
    # 32 tokens cannot span the 64 inputs of down_proj.
    record = cli.record(f"{SMALL} --calibration-windows 1 --repair mrp:damp=0")
    assert any("down_proj: damping raised from 0 to" in note for note in record["notes"])


def _entry(text: str, name: str) -> str:
    """What a list says of a name, whose further lines are indented, on one line."""
    lines = text.splitlines()
    first = next(n for n, line in enumerate(lines) if line.split()[:1] == [name])
    more = itertools.takewhile(lambda line: line.startswith(" "), lines[first + 1 :])
    return " ".join([lines[first], *(line.strip() for line in more)])


@pytest.mark.parametrize(
    ("kind", "registry"), [("metrics", METRICS), ("allocators", ALLOCATORS), ("repairs", REPAIRS)]
)
def test_every_choice_is_listed_with_source_needs_and_parameters(
    cli: CommandLine, kind: str, registry: Any
) -> None:
    text = cli(f"ls {kind}").out
    record = cli(f"ls {kind} --json").record
    listed = {item["name"]: item for item in record[kind]}
    assert [*listed] == [*(["auto"] if kind == "allocators" else []), *dict(registry.items())]
    for item in record[kind]:
        line = _entry(text, item["name"])
        assert item["source"] and item["source"] in line
        assert all(need in line for need in item["needs"])
        assert all(f"{key}=" in line for key in item["params"])
        # What the error lists as allowed is taken, and nothing else.
        start = "mrp:" if item["name"] == "walk" else ""
        for key, values in item["allowed"].items():
            assert values and all(value in line for value in values)
            for value in values:
                assert registry.get(item["name"]).from_text(f"{start}{key}={value}")
            with pytest.raises(UsageError, match=" or ".join(values)):
                registry.get(item["name"]).from_text(f"{start}{key}=other")
    if kind == "allocators":
        assert listed["sdsa"]["allowed"]["level"] == ["block", "projection"]
        assert listed["auto"]["tries"][0] == "uniform" and "x_norm" in listed["auto"]["needs"]
