"""Services of the routes, put together by ``emo_serve.main``."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from emo_serve.api.http.auth import ApiKeys
from emo_serve.api.http.body_budget import BodyBudget
from emo_serve.api.http.exchange import StartTrace
from emo_serve.engine.registry.catalog import Catalog
from emo_serve.engine.scheduling.deadlines import Deadlines
from emo_serve.metrics.definitions import Metrics
from emo_serve.metrics.merge import Snapshot
from emo_serve.settings import Settings

GatherMetrics = Callable[[], Awaitable[Snapshot]]
"""Gives the metrics of all workers as one; raises Unavailable."""

GatherStates = Callable[[bool], Awaitable[list[dict[str, Any]]]]
"""Gives what every worker serves, with True after it has reconciled; raises Unavailable."""


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one process, made once."""

    settings: Settings
    metrics: Metrics
    catalog: Catalog
    bodies: BodyBudget
    unkeyed_bodies: BodyBudget
    """The part of ``bodies`` for requests whose key is in the body, and not known before that is read."""
    deadlines: Deadlines
    """Until when bodies may arrive."""
    drain: asyncio.Event
    """Set when the process has been told to stop."""
    gather_metrics: GatherMetrics | None
    """None where this process is the only one."""
    gather_states: GatherStates | None
    """None where this process is the only one."""
    keys: ApiKeys | None
    """None where nobody needs one."""
    start_trace: StartTrace | None
    """None where requests are not traced."""


def services_of(request: Request) -> Services:
    """The services of the application that answers ``request``."""
    services = request.app.state.services
    if not isinstance(services, Services):
        raise TypeError(services)
    return services
