"""The composition root: the only place where the application is assembled."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Scope

from emo_serve.api.http.admission import AdmissionMiddleware
from emo_serve.api.http.auth import OPEN_PATHS, AdminTokenMiddleware, ApiKeyMiddleware, ApiKeys, read_token
from emo_serve.api.http.body_budget import BodyBudget
from emo_serve.api.http.cors import cors_layer
from emo_serve.api.http.exchange import Exchange, Trace
from emo_serve.api.http.key_file import KeyFile
from emo_serve.api.http.middleware import RequestMiddleware
from emo_serve.api.http.services import GatherMetrics, GatherStates, Services
from emo_serve.api.protocols import (
    deepstack,
    hugging_face,
    open_inference,
    roboflow,
    sagemaker,
    tensorflow_serving,
    torchserve,
    vertex,
)
from emo_serve.api.protocols.adapter import Adapter, AdapterMiddleware, Adapters
from emo_serve.api.routes import admin, admin_traffic, health, predict, segment
from emo_serve.api.routes import models as catalog_routes
from emo_serve.api.routes.openapi import declare_keys
from emo_serve.api.routes.playground import FILES, PATH, PlaygroundFiles, playground
from emo_serve.api.routes.swagger_ui import asset, description, documentation
from emo_serve.api.wire.paths import Paths, prefix_of
from emo_serve.api.wire.problems import ANSWERED, answer_error, problem_for
from emo_serve.engine.execution.session import OpenSession, open_session
from emo_serve.engine.host import memory_limit
from emo_serve.engine.registry.catalog import Catalog
from emo_serve.engine.registry.preflight import Preflight
from emo_serve.engine.scheduling.deadlines import Deadlines
from emo_serve.engine.scheduling.retry_sync import RetrySync
from emo_serve.errors import StartupError
from emo_serve.metrics.definitions import Metrics
from emo_serve.setting_types import ProtocolName
from emo_serve.settings import Settings
from emo_serve.version import installed_version

DESCRIPTION = "Image classification, object detection and segmentation with models of the EMO family, on ONNX Runtime."

_HANDLERS: dict[int | type[Exception], Any] = dict.fromkeys((*ANSWERED, Exception), answer_error)

_READ = ["GET", "HEAD"]

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    open_session: OpenSession = open_session,
    gather_metrics: GatherMetrics | None = None,
    gather_states: GatherStates | None = None,
    retry_sync: RetrySync | None = None,
    preflight: Preflight | None = None,
) -> FastAPI:
    """The application; models load and stop with its lifespan, which raises StartupError if none can be served.

    If this process is one of several, ``gather_metrics`` and ``gather_states`` return the metrics and the states of all
    workers, and ``retry_sync`` shares its reserved retries with them. ``preflight`` tries versions before they are
    served.
    """
    drain = asyncio.Event()
    metrics = Metrics()
    keys = _api_keys(settings)
    tracing = _tracing(settings, metrics, os.environ)
    start_trace = tracing.start if tracing is not None else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        catalog = Catalog(settings, metrics, _stop_process, open_session, retry_sync, preflight)
        try:
            await catalog.start()
            _require_models(settings, catalog)
            bodies = BodyBudget(settings.max_inflight_bytes)
            unkeyed = BodyBudget(max(settings.max_inflight_bytes // 8, settings.max_request_bytes), bodies)
            metrics.inflight_bytes.set_function(lambda: bodies.held)
            metrics.workers_configured.set(settings.workers or 1)
            metrics.memory_limit.set(memory_limit())
            metrics.workers_ready.set_function(lambda: catalog.ready and not drain.is_set())
            app.state.services = Services(
                settings,
                metrics,
                catalog,
                bodies,
                unkeyed,
                Deadlines(),
                drain,
                gather_metrics,
                gather_states,
                keys,
                start_trace,
            )
            yield
        finally:
            await catalog.close()
            if tracing is not None:
                await tracing.close()

    app = FastAPI(
        title="emo-serve",
        version=installed_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # it has a route of its own
        redirect_slashes=False,  # Paths has removed trailing slashes
        generate_unique_id_function=lambda route: route.name,  # generated clients name their methods by it
        exception_handlers=_HANDLERS,
        telemetry={"metrics": False, "logs": False},  # we have our own; tracing needs OpenTelemetry to be set up
    )
    routes = [route for route in (*predict.router.routes, *segment.router.routes) if isinstance(route, APIRoute)]
    adapters = Adapters(adapter for name, adapter in protocol_adapters(os.environ).items() if _speaks(settings, name))
    # FastAPI's own layers are innermost: requests that the admission middleware answers skip them, and the adapters.
    surrounded: ASGIApp = AdmissionMiddleware(AdapterMiddleware(app.build_middleware_stack(), adapters), routes)
    if keys is not None:
        open_paths = OPEN_PATHS | adapters.open_paths | (FILES if settings.playground else frozenset())
        surrounded = ApiKeyMiddleware(surrounded, keys, open_paths, adapters.error_response, adapters.has_key_in_body)
    routers = (predict.router, segment.router, catalog_routes.router, health.router)
    for router in routers:
        app.include_router(router)
    app.add_api_route("/docs", documentation, methods=_READ, include_in_schema=False)
    app.add_api_route("/docs/{name}", asset, methods=_READ, include_in_schema=False)
    app.add_api_route("/openapi.json", description, methods=_READ, include_in_schema=False)
    if settings.playground:
        app.add_api_route("/", playground, methods=_READ, include_in_schema=False)
        app.mount(PATH, PlaygroundFiles())
    else:
        app.add_api_route(
            "/", _to_documentation, methods=_READ, include_in_schema=False, response_class=RedirectResponse
        )
    document = app.openapi()  # made now, or the first invalid parameter would wait for it
    if keys is not None:
        declare_keys(document)
    known = [*document["paths"], *(route.path for route in adapters.routes)]
    paths = Paths(settings.root_path or "", settings.trusted_proxies or (), known)
    cors = _cors(settings, [*adapters.routes, *(route for router in (app, *routers) for route in router.routes)])
    app.middleware_stack = RequestMiddleware(
        surrounded,
        metrics,
        drain,
        settings.max_request_bytes,
        paths,
        cors,
        adapters.error_response,
        start_trace,
        probes=adapters.open_paths,
    )
    return app


def create_admin_app(services: Services) -> FastAPI:
    """The administration, to be served on its own port; raises StartupError without a valid token."""
    token = read_token(services.settings)
    app = FastAPI(openapi_url=None, redirect_slashes=False, exception_handlers=_HANDLERS)
    app.state.services = services
    adapters = Adapters((open_inference.ADMIN_ADAPTER,) if _speaks(services.settings, "v2") else ())
    answer_error = adapters.error_response
    guarded = AdminTokenMiddleware(AdapterMiddleware(app.build_middleware_stack(), adapters), token, answer_error)
    routers = (admin.router, admin_traffic.router)
    for router in routers:
        app.include_router(router)
    own_routes = [route for router in routers for route in router.routes]
    max_bytes, cors = services.settings.max_request_bytes, _cors(services.settings, [*adapters.routes, *own_routes])
    app.middleware_stack = RequestMiddleware(
        guarded, services.metrics, services.drain, max_bytes, wrap=cors, error_response=answer_error
    )
    return app


def create_grpc_app(services: Services) -> FastAPI:
    """What answers the calls of gRPC, to be served on its own port; needs the extra ``grpc``."""
    from emo_serve.api.protocols import grpc_inference  # noqa: PLC0415  an extra, which costs nothing where it is off

    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.state.services = services
    adapter = grpc_inference.ADAPTER

    def answer_error(_scope: Scope, error: Exception) -> Response:
        return adapter.write_error(problem_for(error))

    answering: ASGIApp = AdapterMiddleware(app.build_middleware_stack(), Adapters((adapter,)))
    if services.keys is not None:
        answering = ApiKeyMiddleware(
            answering, services.keys, adapter.open_paths, answer_error, open_methods=frozenset({"POST"})
        )
    app.middleware_stack = RequestMiddleware(
        answering,
        services.metrics,
        services.drain,
        services.settings.max_request_bytes,
        error_response=answer_error,
        start_trace=services.start_trace,
        probes=adapter.open_paths,
    )
    return app


def _api_keys(settings: Settings) -> ApiKeys | None:
    """Who may ask; None where everybody may."""
    if settings.api_keys_file is None:
        return None
    limits = settings.api_key_requests_per_second, settings.api_key_concurrency
    return ApiKeys(KeyFile(settings.api_keys_file), *limits)


class _Tracing(Protocol):
    """What traces requests until it is closed."""

    def start(self, scope: Scope, exchange: Exchange) -> Trace: ...

    async def close(self) -> None: ...


def _tracing(settings: Settings, metrics: Metrics, environment: Mapping[str, str]) -> _Tracing | None:
    """What traces requests; None where they are not traced. Raises StartupError."""
    if not settings.tracing or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from emo_serve.api.http.tracing import Tracing  # noqa: PLC0415  # needs the extra, and is not for everybody
    except ImportError as error:
        msg = "EMO_TRACING needs OpenTelemetry: pip install 'emo-serve[otel]'"
        raise StartupError(msg) from error
    return Tracing(metrics)


def protocol_adapters(environment: Mapping[str, str]) -> dict[ProtocolName, Adapter]:
    """An adapter for each protocol of other servers; of two with the same route the first answers.

    Raises StartupError for variables of a platform that cannot be followed.
    """
    return {
        "v2": open_inference.ADAPTER,
        "huggingface": hugging_face.ADAPTER,
        "deepstack": deepstack.ADAPTER,
        "torchserve": torchserve.ADAPTER,
        "roboflow": roboflow.ADAPTER,
        "sagemaker": sagemaker.ADAPTER,
        "vertex": vertex.adapter(environment),
        "tfserving": tensorflow_serving.ADAPTER,
    }


def _speaks(settings: Settings, name: ProtocolName) -> bool:
    return settings.protocols is None or name in settings.protocols


def _cors(settings: Settings, routes: Iterable[BaseRoute]) -> Callable[[ASGIApp], ASGIApp]:
    """Wraps an application with these routes in CORS, if that is set."""
    return cors_layer(settings.cors_origins, routes) if settings.cors_origins else lambda app: app


async def _to_documentation(request: Request) -> RedirectResponse:
    return RedirectResponse(f"{prefix_of(request.scope)}/docs")


def _require_models(settings: Settings, catalog: Catalog) -> None:
    """Raise StartupError if nothing can be served, with the reason for each model in the repository."""
    if catalog.all():
        return
    reasons = "".join(f"\n  {path}: {error}" for path, error in catalog.failures.items())
    msg = f"{settings.models}: no model can be served{':' + reasons if reasons else ', the folder holds none.'}"
    raise StartupError(msg)


def _stop_process() -> None:
    """Stop the process after a batcher has died: it must be restarted instead of going on with status 200."""
    logger.critical("the process stops")
    os.kill(os.getpid(), signal.SIGTERM)
