"""Checks whether a port of this machine is free, and finds free ones."""

import secrets
import socket

# Below the ports systems use for connections: 32768 and up on Linux, 49152 and up elsewhere.
FIRST, LAST = 20_000, 32_000
_TRIES = 100


def port_taken(port: int) -> bool:
    """Return whether something listens on 127.0.0.1 or on all addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do, so that a connection in TIME_WAIT does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def free_port() -> int:
    """Return a free port of 127.0.0.1 for a server that is about to start.

    It is outside the usual ephemeral range, so no other process's connection takes it first.
    """
    for _ in range(_TRIES):
        port = FIRST + secrets.randbelow(LAST - FIRST + 1)
        if not port_taken(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
