"""Repositories that change while they are served."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from emo_serve.engine.execution.session import OpenSession, open_session
from emo_serve.engine.registry.catalog import Catalog
from emo_serve.metrics.definitions import Metrics
from emo_serve.settings import Settings
from tests.support import PATIENCE_SECONDS, encode_image, plain, write_classifier

NAME = "toy-classifier"
RED = encode_image(plain("red"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with version 1 of a model."""
    write_classifier(tmp_path / "models")
    return tmp_path / "models"


@asynccontextmanager
async def catalog_of(
    root: Path,
    metrics: Metrics | None = None,
    open_session: OpenSession = open_session,
    on_death: Callable[[], None] = lambda: None,
    **settings: Any,  # noqa: ANN401  each setting has its own type
) -> AsyncIterator[Catalog]:
    catalog = Catalog(Settings(models=root, **settings), metrics or Metrics(), on_death, open_session)
    await catalog.start()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield catalog
    finally:
        await catalog.close()


def choose(root: Path, **choices: object) -> None:
    (root / NAME / "serving.json").write_text(json.dumps(choices))


def versions(catalog: Catalog) -> list[str]:
    return list(catalog.versions(NAME))


def answering(catalog: Catalog, version: str | None = None) -> str:
    return catalog.get("classify", NAME, version).manifest.version
