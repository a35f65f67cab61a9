"""Administration of what an alias does with its requests: splits, shadows, and their promotion."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError

from emo_serve.api.http.services import services_of
from emo_serve.api.routes.admin import State, apply_change, entries_of, require_served
from emo_serve.api.wire.model_schemas import WorkerStates
from emo_serve.api.wire.schemas import AliasQuery, NoQuery, ShadowQuery, SplitQuery
from emo_serve.engine.repository.serving_config import ServingConfig
from emo_serve.engine.repository.traffic_config import Shadow, Split
from emo_serve.errors import Conflict, InvalidParameter

router = APIRouter(tags=["administration"])
_ALIAS = "/models/{name}/aliases/{alias}"


@router.put(f"{_ALIAS}/split", response_model=WorkerStates)
async def set_split(request: Request, name: str, alias: str, query: Annotated[SplitQuery, Query()]) -> object:
    """Let another version answer a share of the alias's requests, and its own version the others."""

    def change(config: ServingConfig) -> ServingConfig:
        own = _own_version(config, alias)
        if own == query.version:
            msg = f"Version {own} is what the alias {alias!r} names; another one can get a share of its requests."
            raise Conflict(msg)
        try:
            split = Split(
                shares={own: round(1 - query.share, 9), query.version: query.share}, by=query.by, header=query.header
            )
        except ValidationError as error:
            msg = f"by = {query.by!r}, header = {query.header!r}: allowed is a header's name with by=header, else none."
            raise InvalidParameter(msg) from error
        return config.with_traffic(alias, split=split, shadow=config.shadows.get(alias))

    return await _changed(
        request,
        name,
        query.version,
        change,
        lambda entry: entry["version"] != query.version or entry["shares"].get(alias) == query.share,
        f"Version {query.version} does not get its share of the alias {alias!r}",
    )


@router.delete(f"{_ALIAS}/split", response_model=WorkerStates)
async def remove_split(request: Request, name: str, alias: str, _query: Annotated[NoQuery, Query()]) -> object:
    """Let the alias's own version answer all of its requests."""
    return await _changed(
        request,
        name,
        None,
        lambda config: config.with_traffic(alias, split=None, shadow=config.shadows.get(alias)),
        lambda entry: alias not in entry["shares"],
        f"The alias {alias!r} is still split",
    )


@router.put(f"{_ALIAS}/shadow", response_model=WorkerStates)
async def set_shadow(request: Request, name: str, alias: str, query: Annotated[ShadowQuery, Query()]) -> object:
    """Let another version compute copies of a share of the alias's images."""

    def change(config: ServingConfig) -> ServingConfig:
        if _own_version(config, alias) == query.version:
            msg = f"Version {query.version} is what the alias {alias!r} names; its shadow must be another one."
            raise Conflict(msg)
        shadow = Shadow(version=query.version, share=query.share)
        return config.with_traffic(alias, split=config.splits.get(alias), shadow=shadow)

    return await _changed(
        request,
        name,
        query.version,
        change,
        lambda entry: entry["version"] != query.version or alias in entry["shadows"],
        f"Version {query.version} is no shadow of the alias {alias!r}",
    )


@router.delete(f"{_ALIAS}/shadow", response_model=WorkerStates)
async def remove_shadow(request: Request, name: str, alias: str, _query: Annotated[NoQuery, Query()]) -> object:
    """Make no more copies of the alias's images."""
    return await _changed(
        request,
        name,
        None,
        lambda config: config.with_traffic(alias, split=config.splits.get(alias), shadow=None),
        lambda entry: alias not in entry["shadows"],
        f"The alias {alias!r} still has a shadow",
    )


@router.post(f"{_ALIAS}/promote", response_model=WorkerStates)
async def promote(request: Request, name: str, alias: str, query: Annotated[AliasQuery, Query()]) -> object:
    """Point the alias at a version that shares its requests or is its shadow; it answers alone."""
    version = query.version or ""
    return await _changed(
        request,
        name,
        version,
        lambda config: config.promoted(alias, version),
        lambda entry: (entry["version"] == version) == (alias in entry["aliases"]),
        f"The alias {alias!r} does not name version {version}",
    )


@router.post(f"{_ALIAS}/back", response_model=WorkerStates)
async def back(request: Request, name: str, alias: str, _query: Annotated[NoQuery, Query()]) -> object:
    """Point the alias at the version that it named before the last promotion."""
    services, wanted = services_of(request), ""
    known = services.catalog.find(name).manifest.name

    def change(config: ServingConfig) -> ServingConfig:
        nonlocal wanted
        after = config.demoted(alias)
        wanted = after.aliases[alias]
        if wanted not in services.catalog.versions(known):
            msg = f"Version {wanted}, the former one of the alias {alias!r}, is not served; load it first."
            raise Conflict(msg)
        return after

    return await _changed(
        request,
        name,
        None,
        change,
        lambda entry: (entry["version"] == wanted) == (alias in entry["aliases"]),
        f"The alias {alias!r} does not name its former version",
    )


def _own_version(config: ServingConfig, alias: str) -> str:
    """The version of the alias; raises Conflict where it names none."""
    if alias not in config.aliases:
        msg = f"The alias {alias[:100]!r} names no version; give it one first."
        raise Conflict(msg)
    return config.aliases[alias]


async def _changed(
    request: Request,
    name: str,
    version: str | None,
    change: Callable[[ServingConfig], ServingConfig],
    is_done: Callable[[dict[str, Any]], bool],
    otherwise: str,
) -> dict[str, Any]:
    """Apply a change that needs the version of the model, if any, served; ``is_done`` holds for each version."""
    services = services_of(request)
    name = services.catalog.find(name).manifest.name
    if version is not None:
        require_served(services, name, version)

    def is_done_everywhere(state: State) -> bool:
        return all(map(is_done, entries_of(state, name)))

    return await apply_change(services, name, change, is_done_everywhere, f"{otherwise} of model {name!r}")
