"""Deployments for tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from emo_serve.engine.execution.pixel_threads import PixelThreads
from emo_serve.engine.execution.session import Session
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.engine.registry.load_thread import LoadThread
from emo_serve.engine.repository.artefacts import Artefact, scan
from emo_serve.metrics.definitions import Metrics
from emo_serve.settings import Batching, Settings
from tests.engine.fake_session import FakeSession
from tests.support import PATIENCE_SECONDS, encode_image


def only_artefact(root: Path) -> Artefact:
    """Of a repository with one model."""
    (artefact,) = scan(root).artefacts
    return artefact


def settings_for(root: Path, *, drain_seconds: float = PATIENCE_SECONDS, **batching: float) -> Settings:
    options = Batching.model_validate({"instances": 1} | batching)
    return Settings(models=root, batching=options, drain_seconds=drain_seconds, decode_threads=1)


@asynccontextmanager
async def deployed(
    folder: Path, settings: Settings | None = None, session: Session | None = None, metrics: Metrics | None = None
) -> AsyncIterator[Deployment]:
    """The model of the folder: for real, or with a fake session that is taken without a self-test."""
    root = folder.parent.parent
    settings = settings or settings_for(root)
    metrics = metrics or Metrics()
    artefact = only_artefact(root)
    pixel_threads = PixelThreads(threads=1)
    load_thread = LoadThread()
    deployment = (
        await Deployment.start(artefact, settings, metrics, pixel_threads, load_thread)
        if session is None
        else Deployment(artefact, session, settings, metrics, pixel_threads)
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield deployment
    finally:
        if isinstance(session, FakeSession):
            session.gate.set()
        await deployment.close()
        load_thread.close()
        pixel_threads.close()


def picture(value: int) -> bytes:
    return encode_image(np.full((32, 32, 3), value, np.uint8))
