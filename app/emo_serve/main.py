"""The composition root: everything is put together here and nowhere else."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from emo_serve.api.http.admin_token import RequireToken, read_token
from emo_serve.api.http.admission import Door
from emo_serve.api.http.api_keys import KeyCheck
from emo_serve.api.http.body_budget import BodyBudget
from emo_serve.api.http.cors import across_origins
from emo_serve.api.http.key_file import KeysFile
from emo_serve.api.http.middleware import RequestFrame
from emo_serve.api.http.services import AskAll, Gather, Services
from emo_serve.api.routes import admin, health, predict, segment
from emo_serve.api.routes import models as catalog_routes
from emo_serve.api.routes.openapi import declare_keys
from emo_serve.api.routes.swagger_ui import asset, description, documentation
from emo_serve.api.wire.paths import Paths, prefix_of
from emo_serve.api.wire.problems import ANSWERED, answer_error
from emo_serve.engine.host.memory import memory_limit
from emo_serve.engine.registry.catalog import Catalog
from emo_serve.engine.registry.deployment import OpenSession, open_session
from emo_serve.engine.registry.preflight import Preflight
from emo_serve.engine.scheduling.deadlines import Deadlines
from emo_serve.engine.scheduling.retry_sync import Bookings
from emo_serve.errors import StartupError
from emo_serve.metrics.definitions import Metrics
from emo_serve.settings import Settings
from emo_serve.version import installed_version

DESCRIPTION = "Image classification, object detection and segmentation with models of the EMO family, on ONNX Runtime."

_HANDLERS: dict[int | type[Exception], Any] = dict.fromkeys((*ANSWERED, Exception), answer_error)

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    open_session: OpenSession = open_session,
    gather: Gather | None = None,
    ask_all: AskAll | None = None,
    bookings: Bookings | None = None,
    preflight: Preflight | None = None,
) -> FastAPI:
    """The application; models load and stop with its lifespan, which raises StartupError where none can be served.

    ``gather`` and ``ask_all`` give the metrics and the states of all workers where this process is one of several, and
    ``bookings`` tells them what moments are booked. By a ``preflight`` versions are tried before they are served.
    """
    drain = asyncio.Event()
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        catalog = Catalog(settings, metrics, _stop_process, open_session, bookings, preflight)
        try:
            await catalog.start()
            _require_models(settings, catalog)
            bodies = BodyBudget(settings.max_inflight_bytes)
            metrics.inflight_bytes.set_function(lambda: bodies.held)
            metrics.workers_configured.set(settings.workers or 1)
            metrics.memory_limit.set(memory_limit())
            metrics.workers_ready.set_function(lambda: catalog.ready and not drain.is_set())
            app.state.services = Services(settings, metrics, catalog, bodies, Deadlines(), drain, gather, ask_all)
            yield
        finally:
            await catalog.close()

    app = FastAPI(
        title="emo-serve",
        version=installed_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # a route of its own gives it
        redirect_slashes=False,  # Paths has taken them away
        exception_handlers=_HANDLERS,
        telemetry={"metrics": False, "logs": False},  # we have our own; tracing goes where OpenTelemetry is set up
    )
    routes = [route for route in (*predict.router.routes, *segment.router.routes) if isinstance(route, APIRoute)]
    # FastAPI's own layers lie innermost: they have nothing to do for the requests that the door answers.
    surrounded: ASGIApp = Door(app.build_middleware_stack(), routes)
    if settings.api_keys_file is not None:
        limits = settings.api_key_requests_per_second, settings.api_key_concurrency
        surrounded = KeyCheck(surrounded, KeysFile(settings.api_keys_file), *limits)
    app.include_router(predict.router)
    app.include_router(segment.router)
    app.include_router(catalog_routes.router)
    app.include_router(health.router)
    app.add_api_route("/docs", documentation, include_in_schema=False)
    app.add_api_route("/docs/{name}", asset, include_in_schema=False)
    app.add_api_route("/openapi.json", description, include_in_schema=False)
    app.add_api_route("/", _root, include_in_schema=False, response_class=RedirectResponse)
    document = app.openapi()  # made once, now: the first wrong parameter would wait for it
    if settings.api_keys_file is not None:
        declare_keys(document)
    paths = Paths(settings.root_path or "", settings.trusted_proxies or (), document["paths"])
    frame = partial(RequestFrame, surrounded, metrics, drain, settings.max_request_bytes, paths)
    origins = settings.cors_origins
    app.middleware_stack = frame(partial(across_origins, origins=origins)) if origins else frame()
    return app


def create_admin_app(services: Services) -> FastAPI:
    """The administration, to be served on a port of its own; raises StartupError where its token cannot be had."""
    token = read_token(services.settings)
    app = FastAPI(openapi_url=None, redirect_slashes=False, exception_handlers=_HANDLERS)
    app.state.services = services
    guarded = RequireToken(app.build_middleware_stack(), token)
    most = services.settings.max_request_bytes
    app.middleware_stack = RequestFrame(guarded, services.metrics, services.drain, most)
    app.include_router(admin.router)
    return app


async def _root(request: Request) -> RedirectResponse:
    return RedirectResponse(f"{prefix_of(request.scope)}/docs")


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
