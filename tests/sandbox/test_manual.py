"""The manual says what the code does: codes, limits, and how many attacks there are."""

from pathlib import Path

from sandbox.codes import MEANINGS
from sandbox.limits import Limits
from tests.support.attacks import attempts
from tests.support.attacks.more_attacks import MORE
from tests.support.attacks.refusals import expected
from tests.support.attacks.table import ATTACKS as FIRST
from tests.support.attacks.together import shares

ATTACKS = [*FIRST, *MORE]
ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8")


def test_every_code_is_listed_with_its_meaning() -> None:
    for code, meaning in MEANINGS.items():
        assert f"| `{code}` | {meaning} |" in MANUAL


def test_every_limit_is_listed_with_its_default() -> None:
    for name, field in Limits.model_fields.items():
        assert f"| `{name}` | {field.default} | {field.description} |" in MANUAL


def test_every_attack_is_listed_and_counted() -> None:
    names = list(attempts())
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{len(names) + len(ATTACKS)} hostile candidates attack this sandbox" in readme
    assert f"{len(names)} attempts are each refused" in readme
    assert f"{len(ATTACKS)} end in one of the outcomes" in readme
    manual = " ".join(MANUAL.split())
    assert f"runs {len(names) + len(ATTACKS)} hostile candidates" in manual
    assert f"{len(names)} attempts that must be refused and {len(ATTACKS)} candidates" in manual
    may = [attack for attack in ATTACKS if "accepted" in attack.expect]
    must = [attack for attack in may if len(attack.expect) == 1]
    assert f"({len(may)} may be accepted, {len(must)} of them must)" in manual
    assert f"Of the candidates, {sum(map(shares, ATTACKS))} leave nothing" in manual
    bare = expected(names, syscall_filter=False)
    assert list(bare.values()).count("got") == 5 and "Five get through Docker's" in manual
    for title in [name[5:] for name in names if name[0] != "c"]:
        assert title.replace("_", " ") in MANUAL
    for call in [name[10:] for name in names if name[0] == "c"]:
        assert call in MANUAL
    for attack in ATTACKS:
        assert attack.name[4:].replace("_", " ") in MANUAL
