"""Addresses that may hold a login: recorded with the name of a variable, opened with its value.

Prefect, records and logs keep the input of a form or a command. So a login is refused there, and
``$VARIABLE`` in its place is replaced only where a connection is made. A library's messages about
that connection are cleaned before they are shown.
"""

import base64
import logging
import os
import re
import socket
import traceback
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from autoprune.errors import AutopruneError, UsageError
from autoprune.plain_text import one_line
from tasks.state import without_login

_NAME = r"\$(?:\{[A-Za-z_]\w*\}|[A-Za-z_]\w*)"
_NAMED = rf"{_NAME}(:{_NAME})?@"
# A login precedes the host of a URL; in a cluster's address, also without `scheme://`.
STORE_PATTERN = rf"^(?!.*//(?!{_NAMED})[^/?#]*@).*$"
CLUSTER_PATTERN = rf"^(?!([^/?#]*//)?(?!{_NAMED})[^/?#]*@).*$"
HIDDEN = "***"
# A container's name for the machine that it runs on, and files that show that this is one.
OUR_HOST = ("host.docker.internal", "gateway.docker.internal", "host.containers.internal")
CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))


def require_no_login(address: str, pattern: str) -> None:
    """Refuse a login that is written out."""
    if not re.match(pattern, address, re.DOTALL):
        raise ValueError(
            "a name or password in an address would be kept in records and shown by Prefect; set "
            "it as a variable of the environment and write that, such as "
            "sftp://$STORE_LOGIN@host/folder"
        )


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


def opened_address(address: str) -> str:
    """The address with the values of the variables that stand for its login."""

    def value(match: re.Match[str]) -> str:
        name = match.group().strip("${}")
        found = os.environ.get(name)
        if not found:
            raise UsageError(
                f"the address {address} names the variable {name}, which is not set here; set it "
                "on every machine that works for the search, and name it in AUTOPRUNE_WORKER_ENV "
                "where `autoprune up` starts a worker"
            )
        return found

    return re.sub(rf"{_NAME}(?=(:{_NAME})?@)", value, address)


@contextmanager
def keeping_quiet(address: str) -> Iterator[None]:
    """Keep the login of an address out of all that is raised or logged while it is used."""
    secrets = _secrets(address)
    if not secrets:
        yield
        return
    before = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        message = record.getMessage()
        if _holds(message, secrets):
            record.msg, record.args = _cleaned(message, secrets), None
        if record.exc_info and _holds(
            "".join(traceback.format_exception(*record.exc_info)), secrets
        ):
            record.exc_info = None
        return record

    logging.setLogRecordFactory(factory)
    try:
        yield
    except Exception as error:
        if not _holds("".join(traceback.format_exception(error)), secrets):
            raise
        words = one_line(_cleaned(str(error), secrets))
        kind = type(error) if isinstance(error, AutopruneError) else AutopruneError
        raise kind(words or f"{type(error).__name__} at {without_login(address)}") from None
    finally:
        logging.setLogRecordFactory(before)


def _secrets(address: str) -> list[str]:
    """The login as a whole and its password, the longest first."""
    found = re.match(r"(?:.*//)?([^/?#]*)@", address, re.DOTALL)
    if found is None:
        return []
    login = found.group(1)
    return sorted({login, login.partition(":")[2]} - {""}, key=len, reverse=True)


def _holds(text: str, secrets: list[str]) -> bool:
    return any(secret in text for secret in secrets)


def _cleaned(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text
