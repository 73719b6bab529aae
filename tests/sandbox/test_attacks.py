"""The attack suite: real containers, hostile candidates, planted secrets."""

import hashlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from sandbox.client import Sandbox
from sandbox.codes import Code
from sandbox.limits import Limits
from sandbox.outcomes import Accepted, Rejected
from sandbox.probe_layers import SHAPES, probe_tensors
from tests.support.attacks import attempts, attempts_text
from tests.support.attacks.call_numbers import NUMBERS
from tests.support.attacks.more_attacks import MORE
from tests.support.attacks.refusals import MISTAKES, UNCONTROLLED, control, expected
from tests.support.attacks.table import ATTACKS as FIRST
from tests.support.attacks.table import HONEST, Attack
from tests.support.attacks.together import shares
from tests.support.shared_container import SharedPool

ATTACKS = [*FIRST, *MORE]
pytestmark = [pytest.mark.docker, pytest.mark.slow]

SECRET = "s3ntinel-" + hashlib.sha256(b"planted").hexdigest()[:20]
UNCONFINED = Path(__file__).parents[1] / "support" / "attacks" / "unconfined.py"
SOCKET = f"autoprune-attacks-{os.getpid()}"
# Patient: a machine that is busy with other tests still has to finish the honest jobs.
# The attempts of one container leave dozens of files open.
LIMITS = Limits(probe_s=60, memory_bytes=512 << 20, open_files=200)


def _text(secret_file: Path, inputs: Path) -> str:
    text = attempts_text()
    text = text.replace("@SECRET_FILE@", str(secret_file)).replace("@INPUTS@", str(inputs))
    text = text.replace("@SOCKET@", SOCKET)
    # Split, so that the candidate's own source does not hold the mark it looks for.
    return text.replace('b"@SECRET_MARK@"', f'b"".join([b"{SECRET[:9]}", b"{SECRET[9:]}"])')


def _candidate(text: str, wanted: dict[str, str]) -> str:
    return text + (
        f"\n\nWANTED = {wanted!r}\nBROKEN = []\nDONE = []\n\n"
        "def score(W, stats, params):\n"
        "    if not DONE:\n"
        "        DONE.append(1)\n"
        "        BROKEN.extend(breaches(all_attempts(globals()), WANTED))\n"
        "    if BROKEN:\n"
        "        raise RuntimeError(f'BREACH {len(BROKEN)}: ' + ' '.join(BROKEN))\n"
        "    return W.abs()\n"
    )


@pytest.fixture(scope="module")
def secret_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three secrets on the host: in the environment, in a readable file, in a socket's name."""
    path = tmp_path_factory.mktemp("home") / "token.txt"
    path.write_text(SECRET, encoding="ascii")
    path.chmod(0o644)
    names = ("OPENAI_API_KEY", "HTTPS_PROXY")
    old = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, f"http://user:{SECRET}@192.0.2.7:3128"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0" + SOCKET)
    listener.listen()
    yield path
    listener.close()
    for name, value in old.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope="module")
def boxes(layer_folder: Path, secret_file: Path) -> Iterator[dict[str, Sandbox]]:
    """With the inner filter; without it, so that the outer wall is tested alone; impatient ones.

    The shared ones each have one container for all candidates that do nothing to it.
    """

    def make(**limits: object) -> Sandbox:
        return Sandbox(
            inputs=layer_folder,
            image="bind",
            limits=LIMITS.model_copy(update=limits),
            run_id="attacks",
            screening=False,
        )

    with (
        make(warm=1) as filtered,
        make(syscall_filter=False, warm=1) as bare,
        make(probe_s=2.0, warm=1) as impatient,
        make(probe_s=2.0, syscall_filter=False, warm=1) as impatient_bare,
        make(warm=0) as shared,
        make(syscall_filter=False, warm=0) as shared_bare,
    ):
        SharedPool(shared)
        SharedPool(shared_bare)
        yield {
            "filtered": filtered,
            "bare": bare,
            "impatient filtered": impatient,
            "impatient bare": impatient_bare,
            "shared filtered": shared,
            "shared bare": shared_bare,
        }


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("*.safetensors")
    }


def _assert_silent(outcome: Accepted | Rejected) -> None:
    if isinstance(outcome, Rejected):
        shown = outcome.detail + outcome.printed
        assert SECRET not in shown
        assert "BREACH" not in shown, shown
        assert len(outcome.detail) <= 400
        assert outcome.detail.isprintable()


def _raised(outcome: Accepted | Rejected) -> str:
    """Name of the exception that a candidate ended by, else an empty text."""
    if isinstance(outcome, Accepted) or outcome.code is not Code.EXCEPTION:
        return ""
    text = re.sub(r"^line \d+: ", "", outcome.detail)
    return text.partition(":")[0]


def _assert_honest(outcome: Accepted | Rejected) -> None:
    assert isinstance(outcome, Accepted), outcome
    for index in range(len(SHAPES)):
        np.testing.assert_array_equal(outcome.scores[index], np.abs(probe_tensors(index)["W"]))


@pytest.mark.parametrize("wall", ["filtered", "bare"])
def test_every_attempt_is_refused_in_exactly_its_way(
    wall: str, boxes: dict[str, Sandbox], secret_file: Path, layer_folder: Path
) -> None:
    before = _digests(layer_folder)
    wanted = expected(attempts(), syscall_filter=wall == "filtered")
    assert len(wanted) >= len(attempts()) - 2
    outcome = boxes[wall].probe(_candidate(_text(secret_file, layer_folder), wanted))
    _assert_silent(outcome)
    _assert_honest(outcome)
    assert _digests(layer_folder) == before


def test_a_mistake_in_an_attempt_is_seen(
    boxes: dict[str, Sandbox], secret_file: Path, layer_folder: Path
) -> None:
    """A name mistyped, a call that does not exist, an attempt that is not there."""
    text = _text(secret_file, layer_folder)
    text += "\ndef a900_name():\n    return sockt.socket()\n"
    text += "\ndef a901_call():\n    return call('keyctll')\n"
    wanted = {"a900_name": "EPERM", "a901_call": "EPERM", "a902_absent": "EPERM"}
    outcome = boxes["bare"].probe(_candidate(text, wanted))
    assert isinstance(outcome, Rejected)
    assert "BREACH 3: a900_name=NameError a901_call=KeyError a902_absent=None" in outcome.detail


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_is_contained(attack: Attack, boxes: dict[str, Sandbox]) -> None:
    wall = "filtered" if attack.syscall_filter else "bare"
    # What usually ends by the limit of time ends by it soon.
    kind = "impatient " if attack.expect[0] == "timeout" else "shared " if shares(attack) else ""
    outcome = boxes[kind + wall].probe(attack.candidate)
    _assert_silent(outcome)
    code = outcome.code if isinstance(outcome, Rejected) else "accepted"
    raised = _raised(outcome)
    assert {code, f"{code}:{raised}"} & set(attack.expect), outcome
    if code in attack.expect:
        # A mistake in the candidate must not pass for the wall's answer.
        assert raised not in MISTAKES, outcome
    if isinstance(outcome, Accepted):
        _assert_honest(outcome)


def test_the_next_honest_job_is_fine(boxes: dict[str, Sandbox]) -> None:
    for wall in ("filtered", "bare", "shared filtered", "shared bare"):
        _assert_honest(boxes[wall].probe(HONEST))


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A folder on a disk: files in memory refuse seals as the walls do."""
    with TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="to become an ordinary user needs root")
@pytest.mark.parametrize("user", ["user", "root"])
def test_every_attempt_does_something_where_nothing_holds_it(
    user: str, secret_file: Path, layer_folder: Path, on_disk: Path
) -> None:
    """Otherwise a mistake in an attempt would pass for a refusal."""
    wanted = expected(attempts(), syscall_filter=True)
    names = [name for name in wanted if control(name) == user]
    text = on_disk / "attempts.py"
    text.write_text(_text(secret_file, layer_folder), encoding="utf-8")
    command = [sys.executable, "-P", str(UNCONFINED), str(on_disk), str(text), user]
    if user == "root":
        own = ("--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--mount-proc")
        command = ["unshare", *own, *command]
    done = subprocess.run(
        command, input=" ".join(names), capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr[-800:]
    seen = dict(line.split() for line in done.stdout.splitlines())
    assert list(seen) == names
    assert {name: kind for name, kind in seen.items() if kind in MISTAKES} == {}
    assert {name: kind for name, kind in seen.items() if kind == wanted[name]} == {}


def test_numbers_of_calls_are_those_of_the_kernel_s_headers() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("needs the kernel's headers (linux-libc-dev)")
    lines = [line.split() for line in header.read_text(encoding="ascii").splitlines()]
    defined = {line[1][5:]: int(line[2]) for line in lines if line[:1] == ["#define"] and line[2:]}
    assert {name: defined.get(name) for name in NUMBERS} == {
        name: numbers[0] for name, numbers in NUMBERS.items()
    }


def test_there_are_as_many_attacks_as_the_manual_says() -> None:
    names = attempts()
    assert len(names) + len(ATTACKS) >= 330
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    assert len({name[:4] for name in names}) == len(names)
    assert set(UNCONTROLLED) <= {name[:4] for name in names}
    assert len(UNCONTROLLED) == 3
