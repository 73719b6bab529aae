"""Pictures that are drawn but not rendered, for tests that look at the words beside them."""

import base64
from typing import Any

import pytest

from autoprune.report.canvas import Canvas

# A picture in the form of PNG.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def sketch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the work of matplotlib's renderer until the test ends."""
    monkeypatch.setattr(Canvas, "_save", _outline)


@pytest.fixture(autouse=True)
def sketched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn, but rendered only for tests marked ``pictures``.

    For where it is imported. Rendering is matplotlib's work, and a third of a tiny search's.
    """
    if "pictures" not in request.keywords:
        sketch(monkeypatch)


def _outline(_: Canvas, stream: Any) -> None:
    stream.write(PIXEL)
