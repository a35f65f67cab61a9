"""Handle of a trial process as ``preflight`` uses it: a new interpreter, or a fork of this process."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from typing import NamedTuple, Protocol

_MODULE = "emo_serve.engine.registry.trial"  # by name, as this process does not import it

GOOD, BAD_FILES, UNFIT = "good", "bad files", "unfit"


class Verdict(NamedTuple):
    """Result of a trial: the version can be served, its files are wrong, or they are right and it does not run."""

    word: str
    reason: str


class _Handle(Protocol):
    """A process with the methods of ``subprocess.Popen`` that are used here."""

    def kill(self) -> None: ...

    def wait(self) -> int: ...


class TrialProcess:
    """A trial process, connected by a pair of sockets."""

    def __init__(self, handle: _Handle, link: socket.socket) -> None:
        self.is_started = False
        self._handle = handle
        self._link = link
        self._lock = threading.Lock()  # a reaped process must not be killed: its id may be in use again
        self._has_ended = False

    def wait_until_started(self, seconds: float) -> None:
        """Return when the process is ready; raises OSError if it does not become so."""
        if self.is_started:
            return
        try:
            self._answer(seconds)
        except EOFError as error:
            msg = "it has ended"
            raise OSError(msg) from error
        self.is_started = True

    def ask(self, question: object, seconds: float) -> Verdict:
        """The verdict on a question; raises TimeoutError, or EOFError if the process has ended."""
        try:
            self._link.settimeout(seconds)
            self._link.sendall(json.dumps(question).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError) as error:
            raise EOFError from error
        return self._answer(seconds)

    def _answer(self, seconds: float) -> Verdict:
        end = time.monotonic() + seconds
        line = b""
        while not line.endswith(b"\n"):
            self._link.settimeout(max(0.001, end - time.monotonic()))
            try:
                piece = self._link.recv(65536)
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise EOFError
            line += piece
        return Verdict(*json.loads(line))

    def kill(self) -> None:
        """Kill the process; a pending ``ask`` raises EOFError."""
        with self._lock:
            if not self._has_ended:
                self._handle.kill()

    def end(self) -> int:
        """End the process if it still runs; returns its exit status, negative for a signal."""
        self._link.close()  # this ends it too, but not in the middle of every call
        self.kill()
        status = self._handle.wait()
        with self._lock:
            self._has_ended = True
        return status


def spawned() -> TrialProcess:
    """A new interpreter; raises OSError."""
    link, its_link = socket.socketpair()
    with its_link:
        try:
            handle = subprocess.Popen(  # noqa: S603  # this interpreter, no client input
                # It imports from the same paths as this process, never from the current folder.
                [sys.executable, "-P", "-m", _MODULE, str(its_link.fileno())],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                pass_fds=[its_link.fileno()],
                process_group=0,  # Ctrl-C in a terminal is for the server
            )
        except OSError:
            link.close()
            raise
    return TrialProcess(handle, link)


@dataclass(frozen=True, slots=True)
class _Fork:
    """A fork of this process."""

    number: int

    def kill(self) -> None:
        """Kill the process."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.number, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for the process to end; returns its exit status, negative for a signal."""
        return os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1])


def forked() -> TrialProcess | None:
    """A fork of this process, which shares the loaded modules; None if the system gives no process.

    Call it only while this process has no event loop, no threads and no sessions.
    """
    from emo_serve.engine.registry.trial import serve_trials  # noqa: PLC0415  # only the fork needs it

    link, its_link = socket.socketpair()
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns about the threads of NumPy's linear algebra, which handles forks itself.
            warnings.simplefilter("ignore", DeprecationWarning)
            number = os.fork()
    except OSError:
        link.close()
        its_link.close()
        return None
    if not number:
        try:
            os.dup2(its_link.fileno(), 3)
            os.closerange(4, os.sysconf("SC_OPEN_MAX"))  # must not keep the server's sockets open
            serve_trials(socket.socket(fileno=3))
        finally:
            os._exit(0)
    its_link.close()
    return TrialProcess(_Fork(number), link)


def ending(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = "?"
    return f"was ended by signal {-status} ({name})"
