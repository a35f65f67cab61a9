"""Administration: which versions each worker serves, and how to change that. It has its own port and token.

It holds no state: changes are written to the repository (``serving.json``), which every worker then reconciles with,
so they persist over restarts and reach other servers that watch the same folder.
"""

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from emo_serve.api.http.services import Services, services_of
from emo_serve.api.wire.model_schemas import WorkerStates
from emo_serve.api.wire.schemas import AliasQuery, NoQuery
from emo_serve.engine.registry.catalog import Catalog
from emo_serve.engine.repository.artefacts import SERVING_CONFIG_FILE
from emo_serve.engine.repository.serving_config import ALIAS_PATTERN, ServingConfig, update_serving_config
from emo_serve.errors import Conflict, InvalidParameter, ModelNotFound
from emo_serve.manifest import NAME_PATTERN, VERSION_PATTERN, known_as

State = dict[str, Any]
"""The versions that one worker serves, as a WorkerState."""

router = APIRouter(tags=["administration"])


def state_of(catalog: Catalog) -> State:
    """The versions that this process serves."""
    return {
        "process": os.getpid(),
        "models": [
            {
                "name": deployment.manifest.name,
                "version": deployment.manifest.version,
                "task": deployment.manifest.task,
                "digest": deployment.digest,
                "aliases": catalog.aliases(deployment),
                "shares": catalog.shares(deployment),
                "shadows": catalog.shadows(deployment),
                "default": catalog.is_default(deployment),
                "ready": deployment.ready,
            }
            for deployment in catalog.all()
        ],
        "failures": [{"path": path, "reason": reason} for path, reason in catalog.failures.items()],
    }


@router.get("/models", response_model=WorkerStates)
async def loaded(request: Request, _query: Annotated[NoQuery, Query()]) -> object:
    """List the versions that every worker serves."""
    return {"workers": await _states(services_of(request), rescan=False)}


@router.post("/rescan", response_model=WorkerStates)
async def rescan(request: Request, _query: Annotated[NoQuery, Query()]) -> object:
    """Let every worker read the repository again, and list the versions that each then serves."""
    return {"workers": await _states(services_of(request), rescan=True)}


@router.post("/models/{name}/{version}", response_model=WorkerStates)
async def load(request: Request, name: str, version: str, _query: Annotated[NoQuery, Query()]) -> object:
    """Serve a version that is in the repository; one that failed before is tried again."""
    services = services_of(request)
    name = await _canonical_name(services, name)
    await asyncio.to_thread(_require_version, services, name, version)
    return await apply_change(
        services,
        name,
        lambda config: config.with_loaded(version),
        lambda state: any(entry["version"] == version for entry in entries_of(state, name)),
        f"Version {version} of model {name!r} is not served",
        version,
    )


@router.delete("/models/{name}/{version}", response_model=WorkerStates)
async def unload(request: Request, name: str, version: str, _query: Annotated[NoQuery, Query()]) -> object:
    """Stop serving a version that stays in the repository; accepted requests are still answered."""
    services = services_of(request)
    name = await _canonical_name(services, name)
    if version not in services.catalog.versions(name):
        await asyncio.to_thread(_require_version, services, name, version)

    def change(config: ServingConfig) -> ServingConfig:
        after, served = config.with_unloaded(version), services.catalog.versions(name)
        if version in served and after.unloaded.issuperset(served):  # others may be on their way out
            msg = f"Version {version} is the last of model {name!r}; load another before, or remove the model's folder."
            raise Conflict(msg)
        return after

    return await apply_change(
        services,
        name,
        change,
        lambda state: all(entry["version"] != version for entry in entries_of(state, name)),
        f"Version {version} of model {name!r} is still served",
    )


@router.put("/models/{name}/aliases/{alias}", response_model=WorkerStates)
async def set_alias(request: Request, name: str, alias: str, query: Annotated[AliasQuery, Query()]) -> object:
    """Point an alias at a served version; ``default`` is the version for requests that name none."""
    services = services_of(request)
    if not re.fullmatch(ALIAS_PATTERN, alias):
        msg = f"alias = {alias[:100]!r}: allowed is a small letter and up to 15 small letters, digits, '_' and '-'."
        raise InvalidParameter(msg)
    name = services.catalog.find(name).manifest.name
    require_served(services, name, query.version)
    return await apply_change(
        services,
        name,
        lambda config: config.with_alias(alias, query.version or ""),
        lambda state: any(
            entry["version"] == query.version and alias in entry["aliases"] for entry in entries_of(state, name)
        ),
        f"The alias {alias!r} of model {name!r} does not name version {query.version}",
    )


@router.delete("/models/{name}/aliases/{alias}", response_model=WorkerStates)
async def remove_alias(request: Request, name: str, alias: str, _query: Annotated[NoQuery, Query()]) -> object:
    """Remove an alias; without ``default`` the highest version answers requests that name none."""
    services = services_of(request)
    name = services.catalog.find(name).manifest.name

    def change(config: ServingConfig) -> ServingConfig:
        if alias not in config.aliases:
            msg = f"Model {name!r} has no alias {alias[:100]!r}; there are: {', '.join(config.aliases) or 'none'}."
            raise ModelNotFound(msg)
        return config.without_alias(alias)

    return await apply_change(
        services,
        name,
        change,
        lambda state: all(alias not in entry["aliases"] for entry in entries_of(state, name)),
        f"Model {name!r} still has the alias {alias!r}",
    )


async def _canonical_name(services: Services, name: str) -> str:
    """The model's name as the repository spells it."""

    def folders() -> set[str]:
        try:
            return {path.name for path in services.settings.models.iterdir()}
        except OSError:
            return set()

    return known_as(name, await asyncio.to_thread(folders))


def _require_version(services: Services, name: str, version: str) -> None:
    """Raise ModelNotFound unless the repository has this version; invalid names never become paths."""
    are_names = re.fullmatch(NAME_PATTERN, name) and re.fullmatch(VERSION_PATTERN, version)
    if are_names and (services.settings.models / name / version).is_dir():
        return
    msg = f"The repository has no folder for version {version[:100]!r} of a model {name[:100]!r}."
    raise ModelNotFound(msg)


def require_served(services: Services, name: str, version: str | None) -> None:
    """Raise InvalidParameter unless this version of the model is served."""
    served = services.catalog.versions(name)
    if version not in served:
        msg = f"version = {version!r}: allowed are the versions that are served: {', '.join(served)}."
        raise InvalidParameter(msg)


async def apply_change(
    services: Services,
    name: str,
    change: Callable[[ServingConfig], ServingConfig],
    is_done: Callable[[State], bool],
    otherwise: str,
    version: str | None = None,
) -> dict[str, Any]:
    """Update the serving config, reconcile all workers and return their states; raises Conflict if one fails.

    It says what failed of the model, or of that ``version``.
    """
    place = name if version is None else f"{name}/{version}"
    await asyncio.to_thread(update_serving_config, services.settings.models / name, change)
    states = await _states(services, rescan=True)
    for state in states:
        if not is_done(state):
            reasons = [
                entry["reason"]
                for entry in state["failures"]
                if entry["path"] in (".", f"{name}/{SERVING_CONFIG_FILE}")
                or f"{entry['path']}/".startswith(f"{place}/")
            ]
            msg = f"{otherwise}: {'; '.join(reasons) or 'another change may have come between; ask again'}."
            raise Conflict(msg)
    return {"workers": states}


async def _states(services: Services, *, rescan: bool) -> list[State]:
    if services.gather_states is not None:
        return await services.gather_states(rescan)
    if rescan:
        await services.catalog.reconcile()
    return [state_of(services.catalog)]


def entries_of(state: State, name: str) -> Iterator[dict[str, Any]]:
    """The versions of a model that a worker serves."""
    return (entry for entry in state["models"] if entry["name"] == name)
