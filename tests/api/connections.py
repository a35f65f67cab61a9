"""A connection as a server gives it to the application."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Connection:
    """What a test says of it."""

    is_lost: bool = False
    is_ending: bool = False
    has_all: bool = True
    on_lost: Callable[[], None] | None = None
    fault: Exception | None = None
    discards: bool = False

    def discard_body(self) -> None:
        self.discards = True
