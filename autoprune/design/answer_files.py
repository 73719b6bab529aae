"""Read files written by others as a designer's answers, without trusting their content."""

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from autoprune.design.chat import Reply, Usage
from autoprune.errors import reason_of

# Room for the longest accepted answer, with every character escaped in JSON.
LARGEST_BYTES = 1 << 18
MOST_TOKENS = 10**9
# Byte order marks, by which editors declare an encoding.
MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


@dataclass(frozen=True)
class Fault:
    """Reason why a file is not an answer."""

    reason: str


def content_of(path: Path, most: int) -> bytes | Fault:
    """Read the bytes of a plain file without blocking or following links."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags)
    except (OSError, ValueError) as error:
        link = path.is_symlink()
        reason = "is a link" if link else f"cannot be read ({getattr(error, 'strerror', error)})"
        return Fault(f"{reason}; write a plain text file in its place")
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            return Fault("is not a plain file; write a text file in its place")
        if found.st_nlink > 1:
            return Fault("is a link to another file; write a plain text file in its place")
        if found.st_size > most:
            return Fault(f"has {found.st_size} bytes; at most {most}, write a shorter one")
        content = b""
        while len(content) <= most and (more := os.read(handle, most + 1 - len(content))):
            content += more
    except OSError as error:
        return Fault(f"cannot be read ({error.strerror}); write it again")
    finally:
        os.close(handle)
    if len(content) > most:
        return Fault(f"has more than {most} bytes; write a shorter one")
    return content


def decoded(content: bytes) -> str | Fault:
    """Decode text as UTF-8 or the encoding named by its byte order mark."""
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        return Fault(f"is not UTF-8 text (byte {error.start}); save it as UTF-8")
    return text if "\x00" not in text else Fault("holds zero bytes; save it as UTF-8 text")


def read_json(text: str) -> Reply | Fault:
    """Read an answer that is an object with ``text``, or one that follows the question's schema."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Fault(
            f"is not JSON ({reason_of(error, 120)}); write one object, or text to the .txt file"
        )
    if not isinstance(value, dict):
        return Fault('holds no JSON object; write {"text": "..."}')
    counted = value.get("usage", {})
    if not isinstance(counted, dict):
        return Fault('has a "usage" that is not an object; write {"prompt_tokens": 0, ...}')
    numbers = [counted.get(name, 0) for name in ("prompt_tokens", "completion_tokens")]
    if any(type(n) is not int or not 0 <= n <= MOST_TOKENS for n in numbers):
        return Fault(f'has a "usage" that counts no tokens; write whole numbers to {MOST_TOKENS}')
    words = value.get("text")
    if words is None:
        words = json.dumps({name: item for name, item in value.items() if name != "usage"})
    if not isinstance(words, str):
        return Fault('has a "text" that is not a string; write {"text": "..."}')
    return Reply(clean(words), Usage(*numbers), waited=0.0)


def clean(text: str) -> str:
    """Replace lone surrogates, which a file cannot hold."""
    return text.encode("utf-8", "replace").decode()
