"""The administration of splits, shadows and promotions."""

import json
from typing import Any

import pytest

from tests.api.test_admin import NAME, Server, assert_problem, server

__all__ = ["server"]  # a fixture

pytestmark = pytest.mark.anyio

ALIAS = f"/models/{NAME}/aliases/default"


@pytest.fixture
async def pinned(server: Server) -> Server:
    """The server of ``server``, whose version 1 is pinned."""
    await changed(server, "PUT", f"{ALIAS}?version=1")
    return server


async def changed(server: Server, method: str, path: str) -> dict[str, dict[str, Any]]:
    """What is served after a change, by version."""
    response = await server.admin.request(method, path)
    assert response.status_code == 200, response.text
    (worker,) = response.json()["workers"]
    return {entry["version"]: entry for entry in worker["models"] if entry["name"] == NAME}


async def test_an_alias_is_split_and_made_whole_again(pinned: Server) -> None:
    served = await changed(pinned, "PUT", f"{ALIAS}/split?version=2&share=1&by=request")
    assert {version: entry["shares"] for version, entry in served.items()} == {
        "1": {"default": 0.0},
        "2": {"default": 1.0},
    }
    assert await pinned.serves() == "2"
    assert await pinned.serves("?version=1") == "1"
    await changed(pinned, "DELETE", f"{ALIAS}/split")
    assert await pinned.serves() == "1"


async def test_a_shadow_is_promoted_and_the_former_version_comes_back(pinned: Server) -> None:
    served = await changed(pinned, "PUT", f"{ALIAS}/shadow?version=2&share=0.5")
    assert (served["1"]["shadows"], served["2"]["shadows"]) == ([], ["default"])
    assert await pinned.serves() == "1"
    served = await changed(pinned, "POST", f"{ALIAS}/promote?version=2")
    assert (served["1"]["aliases"], served["2"]["aliases"], served["2"]["shadows"]) == ([], ["default"], [])
    assert await pinned.serves() == "2"
    await changed(pinned, "POST", f"{ALIAS}/back")
    assert await pinned.serves() == "1"


async def test_split_and_shadow_go_side_by_side_and_end_when_the_alias_is_pointed_elsewhere(pinned: Server) -> None:
    await changed(pinned, "PUT", f"{ALIAS}/shadow?version=2")
    served = await changed(pinned, "PUT", f"{ALIAS}/split?version=2&share=0.5&by=header&header=X-User")
    assert served["2"]["shadows"] == ["default"]
    assert_problem(await pinned.admin.delete(f"/models/{NAME}/2"), 409, "named by the split of the alias 'default'")
    served = await changed(pinned, "PUT", f"{ALIAS}?version=2")
    assert (served["2"]["aliases"], served["2"]["shares"], served["2"]["shadows"]) == (["default"], {}, [])
    assert json.loads((pinned.models / NAME / "serving.json").read_text()) == {
        "aliases": {"default": "2"},
        "unloaded": [],
    }


async def test_a_former_version_that_is_gone_is_not_gone_back_to_and_stays_remembered(pinned: Server) -> None:
    await changed(pinned, "PUT", f"{ALIAS}/shadow?version=2")
    await changed(pinned, "POST", f"{ALIAS}/promote?version=2")
    (pinned.models / NAME / "1").rename(pinned.models / "gone")
    await pinned.admin.post("/rescan")
    before = (pinned.models / NAME / "serving.json").read_text()
    assert_problem(await pinned.admin.post(f"{ALIAS}/back"), 409, "Version 1, the former one of the alias 'default'")
    assert (pinned.models / NAME / "serving.json").read_text() == before
    (pinned.models / "gone").rename(pinned.models / NAME / "1")
    await pinned.admin.post(f"/models/{NAME}/1")
    await changed(pinned, "POST", f"{ALIAS}/back")
    assert await pinned.serves() == "1"


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("PUT", "/split?version=2&share=1.5", 422, "share = '1.5'"),
        ("PUT", "/split?version=2", 422, "share is missing: allowed is a number from 0 to 1"),
        ("PUT", "/split?version=9&share=0.5", 422, "allowed are the versions that are served: 1, 2"),
        ("PUT", "/split?version=1&share=0.5", 409, "Version 1 is what the alias 'default' names"),
        ("PUT", "/split?version=2&share=0.5&by=header", 422, "allowed is a header's name with by=header"),
        ("PUT", "/split?version=2&share=0.5&header=X-User", 422, "allowed is a header's name with by=header"),
        ("PUT", "/split?version=2&share=0.5&by=moon", 422, "by = 'moon'"),
        ("PUT", "/shadow?version=1", 409, "its shadow must be another one"),
        ("PUT", "/shadow?version=2&share=nan", 422, "share"),
        ("POST", "/promote?version=2", 409, "neither has a share of 'default' nor is its shadow"),
        ("POST", "/promote", 422, "allowed are the versions that are served: 1, 2"),
        ("POST", "/back", 409, "Nothing was promoted"),
    ],
)
async def test_what_cannot_be_done_is_a_problem(
    pinned: Server, method: str, path: str, status: int, detail: str
) -> None:
    assert_problem(await pinned.admin.request(method, ALIAS + path), status, detail)
    assert await pinned.serves() == "1"


async def test_an_alias_that_names_nothing_is_neither_split_nor_shadowed(server: Server) -> None:
    for path in ("split?version=1&share=0.5", "shadow?version=1"):
        assert_problem(await server.admin.put(f"{ALIAS}/{path}"), 409, "The alias 'default' names no version")
