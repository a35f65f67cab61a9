"""The process in which versions are tried, as ``preflight`` sees it: a fresh interpreter, or a copy of this process."""

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

_MODULE = "emo_serve.engine.registry.trial"  # by name: this process itself does not need it

GOOD, BAD_FILES, UNFIT = "good", "bad files", "unfit"


class Verdict(NamedTuple):
    """What came of a trial: it can be served, its files are wrong, or they are right and it does not run."""

    word: str
    reason: str


class _Handle(Protocol):
    """A process, as ``subprocess`` has it."""

    def kill(self) -> None: ...

    def wait(self) -> int: ...


class TrialProcess:
    """At the other end of a pair of sockets."""

    def __init__(self, handle: _Handle, link: socket.socket) -> None:
        self.is_started = False
        self._handle = handle
        self._link = link
        self._lock = threading.Lock()  # a process that was waited for is not to be killed: its number may be another's
        self._has_ended = False

    def wait_until_started(self, seconds: float) -> None:
        """Return when it has said so; raises OSError where it does not."""
        if self.is_started:
            return
        try:
            self._answer(seconds)
        except EOFError as error:
            msg = "it has ended"
            raise OSError(msg) from error
        self.is_started = True

    def ask(self, question: object, seconds: float) -> Verdict:
        """Its verdict; raises TimeoutError, or EOFError where it has ended."""
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
        """End it; whoever waits for an answer gets EOFError."""
        with self._lock:
            if not self._has_ended:
                self._handle.kill()

    def end(self) -> int:
        """End it if it has not; its exit status, negative for a signal."""
        self._link.close()  # it ends by that too, but not out of every function
        self.kill()
        status = self._handle.wait()
        with self._lock:
            self._has_ended = True
        return status


def spawned() -> TrialProcess:
    """A fresh interpreter; raises OSError."""
    link, its_link = socket.socketpair()
    with its_link:
        try:
            handle = subprocess.Popen(  # noqa: S603  # this interpreter, and nothing that a client says
                # It imports from where this process does, and never from the folder where it happens to be started.
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
class _Copy:
    """A copy of this process."""

    number: int

    def kill(self) -> None:
        """As the protocol has it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.number, signal.SIGKILL)

    def wait(self) -> int:
        """As the protocol has it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1])


def forked() -> TrialProcess | None:
    """A copy of this process, which need not load again what is loaded here; None where the system gives no process.

    Only to be made as long as there is nothing else in this process: no event loop, no threads, no sessions.
    """
    from emo_serve.engine.registry.trial import serve_trials  # noqa: PLC0415  # what a fresh process is to load, and this one needs not

    link, its_link = socket.socketpair()
    try:
        with warnings.catch_warnings():
            # Python 3.12 counts the threads of NumPy's linear algebra, which renews them around a fork by itself.
            warnings.simplefilter("ignore", DeprecationWarning)
            number = os.fork()
    except OSError:
        link.close()
        its_link.close()
        return None
    if not number:
        try:
            os.dup2(its_link.fileno(), 3)
            os.closerange(4, os.sysconf("SC_OPEN_MAX"))  # nothing that ends with the server may be held open here
            serve_trials(socket.socket(fileno=3))
        finally:
            os._exit(0)
    its_link.close()
    return TrialProcess(_Copy(number), link)


def ending(status: int) -> str:
    """What an exit status says, in words."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = "?"
    return f"was ended by signal {-status} ({name})"
