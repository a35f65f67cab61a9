"""HAProxy's agent check: a port that tells each caller which share of its usual weight this replica should have.

``leastconn`` gives each replica as many requests at a time as the others; one that has become slow, as on a busy
machine, makes its clients wait longer than the rest. In proportion to its weight it gets fewer, and all wait alike.
"""

import asyncio

from emo_serve.metrics.definitions import Metrics

_MEMORY_SECONDS = 30.0  # of runs: the speed of few of them is chance, and weights that follow it make replicas uneven


class AgentCheck:
    """Answers on one port; used on one event loop, once."""

    def __init__(self, metrics: Metrics) -> None:
        """Take the seconds of runs from ``metrics``."""
        self._metrics = metrics
        self._measured = (0.0, 0.0)
        self._speed = 1.0
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen, beside other workers on the same port; raises OSError for an unavailable address."""
        self._server = await asyncio.start_server(self._answer, host, port, reuse_port=True)

    def stop(self) -> None:
        """Accept no more connections."""
        if self._server is not None:
            self._server.close()

    def percent(self) -> int:
        """Present speed of the models in percent of that at start, 1 to 100; what it was while nothing runs."""
        expected, taken = self._metrics.run_totals()
        new_expected, new_taken = expected - self._measured[0], taken - self._measured[1]
        if new_taken > 0:
            self._measured = expected, taken
            newest = new_taken / (new_taken + _MEMORY_SECONDS)
            self._speed += newest * (new_expected / new_taken - self._speed)
        return min(100, max(1, round(100 * self._speed)))

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Write the line that HAProxy's configuration manual describes under ``agent-check``."""
        writer.write(f"{self.percent()}%\n".encode())
        writer.close()
