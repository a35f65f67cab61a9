"""The other side of an ASGI application."""

from collections.abc import Iterable

from starlette.types import Message


async def never(message: Message) -> None:
    """Takes what an application sends that has nothing to send."""
    raise AssertionError(message)


class Client:
    """Gives an application the pieces of a body, and after them that it has left; keeps what the application sends."""

    def __init__(self, pieces: Iterable[bytes] = ()) -> None:
        """Without pieces it has left before the application reads."""
        self.sent: list[Message] = []
        self.reads = 0
        self.reads_before_answer = 0
        self._pieces = list(pieces)

    async def receive(self) -> Message:
        self.reads_before_answer += not self.sent
        self.reads += 1
        if self.reads > len(self._pieces):
            return {"type": "http.disconnect"}
        piece = self._pieces[self.reads - 1]
        return {"type": "http.request", "body": piece, "more_body": self.reads < len(self._pieces)}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        """Of the answer that was begun."""
        status: int = self.sent[0]["status"]
        return status
