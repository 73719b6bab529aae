"""Is a port of this machine free, and which one is?"""

import secrets
import socket

# Below those that systems give to connections: 32768 and more on Linux, 49152 and more elsewhere.
FIRST, LAST = 20_000, 32_000
_TRIES = 100


def port_taken(port: int) -> bool:
    """Whether something listens on 127.0.0.1 or on all addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do, so that a connection in its last minute does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def free_port() -> int:
    """A port of 127.0.0.1 for a server that is about to start.

    A connection of another process cannot have got it by the time that the server asks for it.
    """
    for _ in range(_TRIES):
        port = FIRST + secrets.randbelow(LAST - FIRST + 1)
        if not port_taken(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
