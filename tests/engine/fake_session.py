"""A fake at the Session seam."""

import asyncio
import threading

import numpy as np
from numpy.typing import NDArray

from tests.support import PATIENCE_SECONDS


class FakeSession:
    """A Session that keeps the batches it was given and answers ``scores`` (N, 3): the first value of each tensor.

    While the ``gate`` is not set its runs wait. A tensor whose first value is in ``poison`` fails the batch it is in.
    """

    def __init__(self, *, is_open: bool = True, poison: frozenset[int] = frozenset()) -> None:
        """Let runs through at once, or only when the gate is set."""
        self.batches: list[list[int]] = []  # the first value of each tensor of each batch
        self.gate = threading.Event()
        self.poison = poison
        self._entered = threading.Semaphore(0)
        if is_open:
            self.gate.set()

    def run(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Answer (N, ...) with scores (N, 3)."""
        first = batch.reshape(len(batch), -1)[:, :1]
        values = [int(value) for value in first[:, 0]]
        self.batches.append(values)
        self._entered.release()
        if not self.gate.wait(timeout=PATIENCE_SECONDS):
            raise TimeoutError
        if self.poison.intersection(values):
            msg = "poisoned"
            raise RuntimeError(msg)
        return {"scores": np.repeat(first, 3, axis=1).astype(np.float32)}

    async def entered(self, runs: int = 1) -> None:
        """Return when so many more runs have begun."""
        for _ in range(runs):
            assert await asyncio.to_thread(self._entered.acquire, timeout=PATIENCE_SECONDS)

    @property
    def seen(self) -> list[int]:
        """All that was computed, in order."""
        return [value for batch in self.batches for value in batch]
