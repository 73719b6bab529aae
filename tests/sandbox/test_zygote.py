"""The process of a container that has torch loaded and is forked for every job."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The broker is gone once torch is imported; what is printed is what a child would begin with.
SERVED = """
import gc, socket
from sandbox.worker import zygote
broker, own = socket.socketpair()
broker.shutdown(socket.SHUT_WR)
zygote.serve(own)
collections = sum(generation["collections"] for generation in gc.get_stats())
print(broker.recv(1).decode(), gc.isenabled(), gc.get_freeze_count(), collections)
"""


def test_torch_is_imported_without_garbage_collections_and_jobs_have_them() -> None:
    command = [sys.executable, "-c", SERVED]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=200
    )
    mark, enabled, frozen, collections = done.stdout.split()
    assert (mark, enabled) == ("R", "True")
    # Several hundred while torch is imported with them.
    assert int(frozen) > 50_000 and int(collections) < 50
