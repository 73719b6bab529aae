"""Shared test set-up: quiet libraries, no network, one thread for tiny models."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

# Asserts of what tests share say as much as those of a test.
pytest.register_assert_rewrite("tests.support")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Nothing that a test starts may write the ledger of sealed looks of whoever runs the tests.
_STATE = tempfile.mkdtemp(prefix="autoprune-tests-")
os.environ["XDG_STATE_HOME"] = _STATE
os.environ["AUTOPRUNE_LEDGER"] = str(Path(_STATE) / "session.jsonl")
# A shell that starts the tests in the background has them ignore Ctrl-C, which some of them press.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def ledger(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of sealed looks of the test's own."""
    path = tmp_path_factory.mktemp("ledger") / "sealed-looks.jsonl"
    monkeypatch.setenv("AUTOPRUNE_LEDGER", str(path))
    return path
