"""Addresses: which are of this machine, and how the login in one is sent."""

import base64
import socket
import urllib.request
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tasks.state import without_login

# A container's name for the machine that it runs on, and files that show that this is one.
OUR_HOST = ("host.docker.internal", "gateway.docker.internal", "host.containers.internal")
CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))


def basic(login: str) -> str:
    """The ``Authorization`` header for a login, ``name:password``."""
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def request_to(address: str) -> urllib.request.Request:
    """A request whose login, if the address holds one, is sent as a header.

    The standard library would look up the login as a part of the host's name.
    """
    request = urllib.request.Request(without_login(address))
    parts = urlsplit(address)
    if "@" in parts.netloc:
        request.add_header("Authorization", basic(unquote(parts.netloc.rpartition("@")[0])))
    return request


def is_of_this_machine(address: str) -> bool:
    """Whether a URL names a host of this machine, by whatever name or address.

    From inside a container the machine and its other containers have private addresses, so all of
    these count. A host that does not resolve is not of this machine.
    """
    host = urlsplit(address if "//" in address else f"//{address}").hostname
    if host in OUR_HOST:
        return True
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    inside = any(file.exists() for file in CONTAINER_FILES)
    for family, _, _, _, place in found:
        number = ip_address(str(place[0]).partition("%")[0])
        if number.is_loopback or (inside and number.is_private) or _is_ours(family, place):
            return True
    return False


def _is_ours(family: int, place: Any) -> bool:
    """Whether a socket can be bound to an address here, as only to those of this machine."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.bind(place)
    except OSError:
        # Also raised where the machine lacks this address family.
        return False
    return True
