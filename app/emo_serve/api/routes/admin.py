"""The administration: what is loaded, in every worker, and how that is changed. On a port and with a token of its own.

It holds no state. What is chosen is written into the repository (``emo_serve.engine.repository.serving_config``), and every worker then follows
the repository; so it holds after a restart too, and for other servers that watch the same folder.
"""

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from emo_serve.api.http.services import Services, services_of
from emo_serve.api.wire.schemas import AliasQuery, NoQuery, WorkerStates
from emo_serve.engine.registry.catalog import Catalog
from emo_serve.engine.repository.serving_config import ALIAS_PATTERN, Choices, change_choices
from emo_serve.errors import Conflict, InvalidParameter, ModelNotFound
from emo_serve.manifest import NAME_PATTERN, VERSION_PATTERN, known_as

State = dict[str, Any]
"""What one worker serves: a WorkerState."""

router = APIRouter(tags=["administration"])


def state_of(catalog: Catalog) -> State:
    """What this process serves."""
    return {
        "process": os.getpid(),
        "models": [
            {
                "name": deployment.manifest.name,
                "version": deployment.manifest.version,
                "task": deployment.manifest.task,
                "aliases": catalog.aliases(deployment),
                "default": catalog.is_default(deployment),
                "ready": deployment.ready,
            }
            for deployment in catalog.all()
        ],
        "failures": [{"path": path, "reason": reason} for path, reason in catalog.failures.items()],
    }


@router.get("/models", response_model=WorkerStates)
async def loaded(request: Request, _query: Annotated[NoQuery, Query()]) -> object:
    """What every worker serves."""
    return {"workers": await _states(services_of(request), rescan=False)}


@router.post("/rescan", response_model=WorkerStates)
async def rescan(request: Request, _query: Annotated[NoQuery, Query()]) -> object:
    """Let every worker follow the repository as it is now, and say what it serves then."""
    return {"workers": await _states(services_of(request), rescan=True)}


@router.post("/models/{name}/{version}", response_model=WorkerStates)
async def load(request: Request, name: str, version: str, _query: Annotated[NoQuery, Query()]) -> object:
    """Serve a version that lies in the repository; one that failed before is tried again."""
    services = services_of(request)
    name = await _written(services, name)
    await asyncio.to_thread(_require_version, services, name, version)
    return await _changed(
        services,
        name,
        lambda choices: choices.with_loaded(version),
        lambda state: any(entry["version"] == version for entry in _entries(state, name)),
        f"Version {version} of model {name!r} is not served",
    )


@router.delete("/models/{name}/{version}", response_model=WorkerStates)
async def unload(request: Request, name: str, version: str, _query: Annotated[NoQuery, Query()]) -> object:
    """Serve a version no more, though it lies in the repository; what it has accepted it answers."""
    services = services_of(request)
    name = await _written(services, name)
    served = services.catalog.versions(name)
    if version not in served:
        await asyncio.to_thread(_require_version, services, name, version)
    elif len(served) == 1:
        msg = f"Version {version} is the last of model {name!r}; load another before, or remove the model's folder."
        raise Conflict(msg)
    return await _changed(
        services,
        name,
        lambda choices: choices.with_unloaded(version),
        lambda state: all(entry["version"] != version for entry in _entries(state, name)),
        f"Version {version} of model {name!r} is still served",
    )


@router.put("/models/{name}/aliases/{alias}", response_model=WorkerStates)
async def set_alias(request: Request, name: str, alias: str, query: Annotated[AliasQuery, Query()]) -> object:
    """Let an alias name a version that is served; ``default`` is what answers where a request names none."""
    services = services_of(request)
    if not re.fullmatch(ALIAS_PATTERN, alias):
        msg = f"alias = {alias[:100]!r}: allowed is a small letter and up to 15 small letters, digits, '_' and '-'."
        raise InvalidParameter(msg)
    name = services.catalog.find(name).manifest.name
    served = services.catalog.versions(name)
    if query.version not in served:
        msg = f"version = {query.version!r}: allowed are the versions that are served: {', '.join(served)}."
        raise InvalidParameter(msg)
    return await _changed(
        services,
        name,
        lambda choices: choices.with_alias(alias, query.version or ""),
        lambda state: any(
            entry["version"] == query.version and alias in entry["aliases"] for entry in _entries(state, name)
        ),
        f"The alias {alias!r} of model {name!r} does not name version {query.version}",
    )


@router.delete("/models/{name}/aliases/{alias}", response_model=WorkerStates)
async def remove_alias(request: Request, name: str, alias: str, _query: Annotated[NoQuery, Query()]) -> object:
    """Forget an alias; without ``default`` the highest version answers where a request names none."""
    services = services_of(request)
    name = services.catalog.find(name).manifest.name

    def change(choices: Choices) -> Choices:
        if alias not in choices.aliases:
            msg = f"Model {name!r} has no alias {alias[:100]!r}; there are: {', '.join(choices.aliases) or 'none'}."
            raise ModelNotFound(msg)
        return choices.without_alias(alias)

    return await _changed(
        services,
        name,
        change,
        lambda state: all(alias not in entry["aliases"] for entry in _entries(state, name)),
        f"Model {name!r} still has the alias {alias!r}",
    )


async def _written(services: Services, name: str) -> str:
    """The name as the repository writes it."""

    def folders() -> set[str]:
        try:
            return {path.name for path in services.settings.models.iterdir()}
        except OSError:
            return set()

    return known_as(name, await asyncio.to_thread(folders))


def _require_version(services: Services, name: str, version: str) -> None:
    """Raise ModelNotFound unless the repository has such a folder; names that are none never become paths."""
    are_names = re.fullmatch(NAME_PATTERN, name) and re.fullmatch(VERSION_PATTERN, version)
    if are_names and (services.settings.models / name / version).is_dir():
        return
    msg = f"The repository has no folder for version {version[:100]!r} of a model {name[:100]!r}."
    raise ModelNotFound(msg)


async def _changed(
    services: Services,
    name: str,
    change: Callable[[Choices], Choices],
    is_done: Callable[[State], bool],
    otherwise: str,
) -> dict[str, Any]:
    """Change what is chosen, let all workers follow, and give their states; raises Conflict where one could not."""
    await asyncio.to_thread(change_choices, services.settings.models / name, change)
    states = await _states(services, rescan=True)
    for state in states:
        if not is_done(state):
            reasons = [entry["reason"] for entry in state["failures"] if entry["path"].split("/")[0] in (name, ".")]
            msg = f"{otherwise}: {'; '.join(reasons) or 'the log says why'}."
            raise Conflict(msg)
    return {"workers": states}


async def _states(services: Services, *, rescan: bool) -> list[State]:
    if services.ask_all is not None:
        return await services.ask_all(rescan)
    if rescan:
        await services.catalog.follow()
    return [state_of(services.catalog)]


def _entries(state: State, name: str) -> Iterator[dict[str, Any]]:
    return (entry for entry in state["models"] if entry["name"] == name)
