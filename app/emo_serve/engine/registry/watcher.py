"""Looks at the repository now and then, and has it followed when it has changed."""

import asyncio
import logging
from pathlib import Path

from emo_serve.engine.registry.reconciler import Rollout
from emo_serve.engine.repository.artefacts import look

logger = logging.getLogger(__name__)


async def watch(root: Path, seconds: float, rollout: Rollout) -> None:
    """Look every so many seconds, for ever, in a thread.

    A change counts when two looks in a row have seen the same, so that a copy in progress is left alone.
    """
    before = None
    while True:
        await asyncio.sleep(seconds)
        seen = await asyncio.to_thread(look, root)
        if seen == before and seen != rollout.seen:
            try:
                await rollout.follow(seen, again=False)
            except Exception:
                logger.exception("the repository could not be followed")
        before = seen
