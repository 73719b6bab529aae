"""A candidate, or the folder of a scheme, made again and compared bit by bit."""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from flows.reproduce.folder import request_of as request_of

__getattr__ = lazily(__name__, {"request_of": "flows.reproduce.folder"})
