"""The composition root: everything is put together here and nowhere else."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from app.api import catalog as catalog_routes
from app.api import operations, predict, segment
from app.api.bodies import BodyBudget, BodyLimit
from app.api.door import Door
from app.api.lingering import Lingering
from app.api.middleware import RequestFrame
from app.api.problems import answer_error
from app.api.services import Gather, Services
from app.engine.catalog import Catalog
from app.engine.deployment import OpenSession, open_session
from app.errors import ServiceError, StartupError
from app.metrics import Metrics
from app.settings import Settings

DESCRIPTION = "Image classification, object detection and segmentation with models of the EMO family, on ONNX Runtime."

logger = logging.getLogger(__name__)


def create_app(settings: Settings, open_session: OpenSession = open_session, gather: Gather | None = None) -> FastAPI:
    """The application; models load and stop with its lifespan, which raises StartupError where none can be served.

    ``gather`` gives the metrics of all workers where this process is one of several.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        metrics = Metrics()
        catalog = Catalog(settings, metrics, _stop_process, open_session)
        try:
            await catalog.start()
            _require_models(settings, catalog)
            bodies = BodyBudget(settings.max_inflight_bytes)
            metrics.inflight_bytes.set_function(lambda: bodies.held)
            drain = asyncio.Event()
            metrics.workers_ready.set_function(lambda: catalog.ready and not drain.is_set())
            app.state.services = Services(settings, metrics, catalog, bodies, drain, gather)
            app.openapi()  # made once, now: the first wrong parameter would wait for it
            yield
        finally:
            await catalog.close()

    app = FastAPI(
        title="emo-serve",
        version=_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        exception_handlers={
            ServiceError: answer_error,
            HTTPException: answer_error,
            RequestValidationError: answer_error,
        },
    )
    app.add_middleware(Door)
    app.add_middleware(BodyLimit, max_bytes=settings.max_request_bytes)
    app.add_middleware(RequestFrame)
    app.add_middleware(Lingering)  # added last, so it lies outermost
    app.include_router(predict.router)
    app.include_router(segment.router)
    app.include_router(catalog_routes.router)
    app.include_router(operations.router)
    app.add_api_route("/", _root, include_in_schema=False, response_class=RedirectResponse)
    return app


async def _root() -> RedirectResponse:
    return RedirectResponse("/docs")


def _require_models(settings: Settings, catalog: Catalog) -> None:
    """Raise StartupError where nothing can be served, with the reason for each model that is there."""
    if catalog.all():
        return
    reasons = "".join(f"\n  {path}: {error}" for path, error in catalog.failures.items())
    msg = f"{settings.models}: no model can be served{':' + reasons if reasons else ', the folder holds none.'}"
    raise StartupError(msg)


def _stop_process() -> None:
    """Called when a batcher has died: something must restart the process, and 200s must not go on meanwhile."""
    logger.critical("the process stops")
    os.kill(os.getpid(), signal.SIGTERM)


def _version() -> str:
    try:
        return version("emo-serve")
    except PackageNotFoundError:
        return "0"
