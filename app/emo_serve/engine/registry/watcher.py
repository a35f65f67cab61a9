"""Periodic scan of the repository for changes."""

import asyncio
import logging
from pathlib import Path

from emo_serve.engine.registry.reconciler import Reconciler
from emo_serve.engine.repository.artefacts import scan_state

logger = logging.getLogger(__name__)


async def watch(root: Path, seconds: float, reconciler: Reconciler) -> None:
    """Scan the repository every ``seconds``, for ever, in a thread, and reconcile after a change.

    A change counts once two scans in a row agree, so that a copy in progress is left alone.
    """
    before = None
    while True:
        await asyncio.sleep(seconds)
        seen = await asyncio.to_thread(scan_state, root)
        if seen == before and seen != reconciler.seen:
            try:
                await reconciler.reconcile(seen, again=False)
            except Exception:
                logger.exception("the repository could not be followed")
        before = seen
