"""Ends a process whose event loop stands still, where no supervisor does."""

import asyncio
import contextlib
import logging
import os
import sys
import threading
import traceback
from collections.abc import AsyncIterator

from emo_serve.process.exit_codes import EXIT_STARTUP

_LOOK_SECONDS = 0.5

logger = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def watchdog(seconds: float) -> AsyncIterator[None]:
    """While the block runs: if its event loop stands still for so long, end with status 1, for others to start again.

    It answers nobody then, neither requests nor signals. Time in which the whole process is stopped does not count.
    """
    moved = threading.Event()
    ended = threading.Event()
    watched = threading.get_ident()

    def watch() -> None:
        silence = 0.0
        while not ended.wait(_LOOK_SECONDS):
            silence = 0.0 if moved.is_set() else silence + _LOOK_SECONDS
            moved.clear()
            if silence > seconds:
                stack = "".join(traceback.format_stack(sys._current_frames().get(watched)))  # noqa: SLF001  documented
                logger.critical("the event loop hangs: the process ends", extra={"seconds": silence, "stack": stack})
                os._exit(EXIT_STARTUP)

    async def move() -> None:
        while True:
            moved.set()
            await asyncio.sleep(_LOOK_SECONDS / 2)

    moving = asyncio.create_task(move())
    threading.Thread(target=watch, daemon=True, name="watchdog").start()
    try:
        yield
    finally:
        ended.set()
        moving.cancel()
