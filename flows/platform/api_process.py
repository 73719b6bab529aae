"""The process that serves a private Prefect API, and ends when its parent command is gone.

Run as ``python -P -m flows.platform.api_process PORT PARENT``. A ``kill -9`` of the command leaves
no server behind.
"""

import os
import signal
import sys
import threading
import time

from flows.platform.guard import LOOPBACK, Guard, own_origins
from flows.platform.serve import prefect_application, serve

POLL_SECONDS = 1.0
GRACE_SECONDS = 10.0


def main() -> None:
    """Serve on 127.0.0.1 until stopped, or until the parent is gone."""
    # The pid is passed as a number: if the parent was killed before this line, getppid() differs.
    threading.Thread(target=_end_with, args=(int(sys.argv[2]),), daemon=True).start()
    port = int(sys.argv[1])
    application = Guard(prefect_application(port), LOOPBACK, own_origins(port))
    serve(application, "127.0.0.1", port, log_level="error")


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
