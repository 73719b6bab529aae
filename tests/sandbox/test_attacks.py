"""The attack suite: real containers, hostile candidates, planted secrets."""

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from attacks import attempt_names, attempts_text
from attacks.table import ATTACKS, HONEST, Attack

from sandbox.client import Sandbox
from sandbox.limits import Limits
from sandbox.outcomes import Accepted, Rejected
from sandbox.probe_layers import SHAPES, probe_tensors

pytestmark = [pytest.mark.docker, pytest.mark.slow]

SECRET = "s3ntinel-" + hashlib.sha256(b"planted").hexdigest()[:20]
SOCKET = f"autoprune-attacks-{os.getpid()}"
# Patient: a machine that is busy with other tests still has to finish the honest jobs.
# The attempts of one container leave dozens of files open.
LIMITS = Limits(probe_s=20, memory_bytes=512 << 20, open_files=200)


def _attempts_source(prefixes: str, secret_file: Path, inputs: Path) -> str:
    text = attempts_text()
    text = text.replace("@SECRET_FILE@", str(secret_file)).replace("@INPUTS@", str(inputs))
    text = text.replace("@SOCKET@", SOCKET)
    # Split, so that the candidate's own source does not hold the mark it looks for.
    text = text.replace('b"@SECRET_MARK@"', f'b"".join([b"{SECRET[:9]}", b"{SECRET[9:]}"])')
    return text + (
        "\n\ndef score(W, stats, params):\n"
        "    broken = []\n"
        "    for name, function in sorted(globals().items()):\n"
        f"        if not (name[:1] in {prefixes!r} and name[1:4].isdigit()):\n"
        "            continue\n"
        "        try:\n"
        "            got = function()\n"
        "        except BaseException:\n"
        "            continue\n"
        "        if got:\n"
        "            broken.append(name + '=' + repr(got)[:60])\n"
        "    if broken:\n"
        "        raise RuntimeError('BREACH ' + ' '.join(broken))\n"
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
    """With the inner filter; without it, so that the outer wall is tested alone; impatient."""

    def make(**limits: object) -> Sandbox:
        return Sandbox(
            inputs=layer_folder,
            image="bind",
            limits=LIMITS.model_copy(update=limits),
            run_id="attacks",
            screening=False,
        )

    with (
        make(warm=2) as filtered,
        make(syscall_filter=False, probe_s=15.0, warm=1) as bare,
        make(probe_s=2.0, warm=1) as impatient,
    ):
        yield {"filtered": filtered, "bare": bare, "impatient": impatient}


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("*.safetensors")
    }


def _assert_silent(outcome: Accepted | Rejected) -> None:
    if isinstance(outcome, Rejected):
        said = outcome.detail + outcome.printed
        assert SECRET not in said
        assert "BREACH" not in said, said
        assert len(outcome.detail) <= 400
        assert outcome.detail.isprintable()


def _assert_honest(outcome: Accepted | Rejected) -> None:
    assert isinstance(outcome, Accepted), outcome
    for index in range(len(SHAPES)):
        np.testing.assert_array_equal(outcome.scores[index], np.abs(probe_tensors(index)["W"]))


@pytest.mark.parametrize(("prefixes", "wall"), [("af", "filtered"), ("a", "bare")])
def test_every_attempt_is_refused(
    prefixes: str,
    wall: str,
    boxes: dict[str, Sandbox],
    secret_file: Path,
    layer_folder: Path,
) -> None:
    before = _digests(layer_folder)
    source = _attempts_source(prefixes, secret_file, layer_folder)
    outcome = boxes[wall].probe(source)
    _assert_silent(outcome)
    _assert_honest(outcome)
    assert _digests(layer_folder) == before


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_is_contained(attack: Attack, boxes: dict[str, Sandbox]) -> None:
    patient = attack.expect != ("timeout",)
    wall = "bare" if not attack.syscall_filter else "filtered" if patient else "impatient"
    outcome = boxes[wall].probe(attack.candidate)
    _assert_silent(outcome)
    code = outcome.code if isinstance(outcome, Rejected) else "accepted"
    assert code in attack.expect, outcome
    if isinstance(outcome, Accepted):
        _assert_honest(outcome)


def test_the_next_honest_job_is_fine(boxes: dict[str, Sandbox]) -> None:
    for wall in ("filtered", "bare"):
        _assert_honest(boxes[wall].probe(HONEST))


def test_attempts_succeed_where_nothing_holds_them(secret_file: Path) -> None:
    # Otherwise a typing mistake in an attempt would pass for a refusal.
    names = ["a011_environment", "a021_password_file", "a023_planted_file", "a035_shell_and_tools"]
    names += ["a068_capabilities", "f090_any_socket", "f092_fork", "f093_run_a_program"]
    text = _attempts_source("", secret_file, secret_file.parent)
    text += f"\nprint(*(name for name in {names} if globals()[name]()))\n"
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == names


def test_at_least_a_hundred_attacks() -> None:
    assert len(attempt_names()) + len(ATTACKS) >= 100
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
