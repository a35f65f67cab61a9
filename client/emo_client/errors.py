"""Errors of the client."""

from collections.abc import Mapping
from typing import Any


class EmoError(Exception):
    """Base of all errors of this package."""


class Unreachable(EmoError):
    """No answer: the server cannot be reached, the connection broke, or the time was up."""


class Problem(EmoError):
    """The server's problem document (RFC 9457); ``str(problem)`` says what is wrong and what is allowed."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        """``document`` may lack any member, as where a proxy answered instead of the server."""
        self.status = status
        self.type = str(document.get("type", "about:blank"))
        self.title = str(document.get("title", f"HTTP {status}"))
        self.detail = str(document.get("detail", ""))
        self.request_id: str | None = document.get("request_id")
        self.document = dict(document)
        super().__init__(self.detail or self.title)

    def __reduce__(self) -> tuple[type["Problem"], tuple[int, Mapping[str, Any]]]:
        """So that it passes from one process to another."""
        return type(self), (self.status, self.document)

    @property
    def name(self) -> str:
        """The kind of problem, as in ``image-undecodable``: the last part of ``type``."""
        return self.type.rpartition(":")[2]
