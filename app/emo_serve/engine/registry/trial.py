"""The other side of ``preflight``: the process in which a version is tried, and which may crash, hang or be ended."""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
from pathlib import Path

import numpy as np

from emo_serve.engine.registry.deployment import image_limits, open_session
from emo_serve.engine.registry.self_test import self_test
from emo_serve.engine.registry.trial_process import BAD_FILES, GOOD, UNFIT, Verdict
from emo_serve.engine.repository.artefacts import read_artefact
from emo_serve.errors import InvalidManifest
from emo_serve.settings import Settings

_MOST_CHARACTERS = 10_000  # of a reason


def main() -> None:
    """Try what is asked for through the inherited socket of this number, until nobody asks any more."""
    serve_trials(socket.socket(fileno=int(sys.argv[1])))


def serve_trials(link: socket.socket) -> None:
    """Answer each line, ``[folder, settings]`` as JSON, with the verdict on that version.

    Ends the process when the other side has ended, in the middle of a trial too.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the server, with which this ends
    threading.Thread(target=_end_with, args=(link,), daemon=True).start()
    with contextlib.suppress(OSError):  # not everywhere; where memory is short this process goes, and not the server
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    _say(link, Verdict(GOOD, ""))  # started
    with link.makefile("rb") as lines:
        for line in lines:
            folder, settings = json.loads(line)
            _say(link, _verdict_on(Path(folder), Settings(**settings)))


def try_version(folder: Path, settings: Settings) -> None:
    """All that loading it comes to: files, graph, golden pair, and another picture; raises whatever is wrong."""
    artefact = read_artefact(folder)
    session = open_session(artefact, settings)
    self_test(artefact, session, image_limits(settings), settings.batching.largest_batch, times=1)
    noise = np.random.default_rng(0).integers(0, 256, (1, *artefact.manifest.input.shape[1:]), np.uint8)
    with contextlib.suppress(Exception):  # what it answers is not known; only that it ends
        session.run(noise)


def _verdict_on(folder: Path, settings: Settings) -> Verdict:
    try:
        try_version(folder, settings)
    except InvalidManifest as error:
        return Verdict(BAD_FILES, str(error)[:_MOST_CHARACTERS])
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the reason
        return Verdict(UNFIT, (str(error) or repr(error))[:_MOST_CHARACTERS])
    return Verdict(GOOD, "")


def _say(link: socket.socket, verdict: Verdict) -> None:
    link.sendall(json.dumps(verdict).encode() + b"\n")


def _end_with(link: socket.socket) -> None:
    """End the process when the server has ended; the model may be computing, perhaps for ever."""
    watched = select.poll()
    watched.register(link, 0)  # that it was closed is always told
    watched.poll()
    os._exit(0)


if __name__ == "__main__":
    main()
