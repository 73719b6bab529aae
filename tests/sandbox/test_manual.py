"""The manual says what the code does: codes, limits, and how many attacks there are."""

from pathlib import Path

from sandbox.codes import MEANINGS
from sandbox.limits import Limits
from tests.support.attacks import attempts
from tests.support.attacks.more_attacks import MORE
from tests.support.attacks.table import ATTACKS as FIRST

ATTACKS = [*FIRST, *MORE]
MANUAL = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")


def test_every_code_is_listed_with_its_meaning() -> None:
    for code, meaning in MEANINGS.items():
        assert f"| `{code}` | {meaning} |" in MANUAL


def test_every_limit_is_listed_with_its_default() -> None:
    for name, field in Limits.model_fields.items():
        assert f"| `{name}` | {field.default} | {field.description} |" in MANUAL


def test_every_attack_is_listed_and_counted() -> None:
    names = list(attempts())
    assert f"runs {len(names) + len(ATTACKS)} hostile candidates" in MANUAL
    assert f"{len(names)} attempts" in MANUAL
    for title in [name[5:] for name in names if name[0] != "c"]:
        assert title.replace("_", " ") in MANUAL
    for call in [name[10:] for name in names if name[0] == "c"]:
        assert call in MANUAL
    for attack in ATTACKS:
        assert attack.name[4:].replace("_", " ") in MANUAL
