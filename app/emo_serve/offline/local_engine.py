"""The engine of one machine: processes that compute shards."""

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import cast

from emo_serve.errors import StartupError
from emo_serve.offline.backlog import Backlog
from emo_serve.offline.shards import Report, ShardComputer, Work


def compute_in_processes(work: Work, backlog: Backlog, count: int) -> None:
    """Compute what the backlog gives in so many processes; raises StartupError if one of them cannot go on."""
    with _workers(work, count) as workers:
        busy = {worker.link: worker for worker in workers if worker.send_next(backlog)}
        while busy:
            for link in wait(list(busy)):
                worker = busy[cast("Connection", link)]
                report = worker.receive()
                backlog.add(report)
                if report.is_written and not worker.send_next(backlog):
                    del busy[worker.link]


@dataclass(frozen=True, slots=True)
class _Worker:
    process: BaseProcess
    link: Connection

    def send_next(self, backlog: Backlog) -> bool:
        """Let it compute the next shard, if there is one; raises StartupError if it has ended."""
        if (shard := backlog.next()) is None:
            return False
        try:
            self.link.send(shard)
        except BrokenPipeError as error:
            raise self._ended() from error
        return True

    def receive(self) -> Report:
        """The next report; raises StartupError if it cannot load the model or write a shard, or has ended."""
        try:
            report: Report | str = self.link.recv()
        except (EOFError, ConnectionResetError) as error:
            raise self._ended() from error
        if isinstance(report, str):
            raise StartupError(report)
        return report

    def _ended(self) -> StartupError:
        self.process.join()
        status = self.process.exitcode
        return StartupError(f"a process ended with status {status}; what is finished is kept: run it again to go on")


@contextmanager
def _workers(work: Work, count: int) -> Iterator[list[_Worker]]:
    """So many processes; at the end they may finish what they are at, after an exception they are killed."""
    context = multiprocessing.get_context("spawn")
    workers: list[_Worker] = []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_compute_shards, args=(work, theirs), daemon=True)
            workers.append(_Worker(process, ours))
            process.start()
            theirs.close()
        yield workers
    except BaseException:
        for worker in workers:
            worker.process.kill()
        raise
    finally:
        for worker in workers:
            worker.link.close()
            worker.process.join()


def _compute_shards(work: Work, link: Connection) -> None:
    """Compute each shard that comes through ``link``, and report; return when the other end is closed.

    A model that cannot be loaded, or a shard that cannot be written, is reported by its fault, as text.

    Signals for the whole process group are left to the parent, which lets shards end first.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(EOFError, BrokenPipeError):  # the parent is gone
        try:
            computer = ShardComputer(work)
            while True:
                for report in computer.compute(link.recv()):
                    link.send(report)
        except StartupError as error:
            link.send(str(error))
