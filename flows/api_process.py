"""The process that serves a private Prefect API, and ends when the command that made it is gone.

Run as ``python -m flows.api_process PORT``. A ``kill -9`` of the command leaves no server behind.
"""

import os
import signal
import sys
import threading
import time

POLL_SECONDS = 1.0
GRACE_SECONDS = 10.0


def main() -> None:
    """Serve on 127.0.0.1 until told to stop or left alone."""
    parent = os.getppid()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    # Prefect's alembic.ini puts "." first on the path, where a numpy.py may lie; the settings of
    # the folder that the command was typed in are read by now.
    os.chdir("/")
    uvicorn.run(
        create_app,
        factory=True,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="error",
        lifespan="on",
    )


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
