"""Requests that name an alias are split between versions; what its config says is followed, or named as a fault."""

import base64
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from emo_serve.settings import Settings
from tests.api.diverted import HALVES, PINNED, RED, asked, metric, write_two_versions
from tests.engine.reconciling import NAME, choose
from tests.serving import in_process, until
from tests.support import write_classifier, write_detector

pytestmark = pytest.mark.anyio


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_two_versions(tmp_path)


# ---- split -----------------------------------------------------------------------------------------------------------


async def test_the_same_value_of_a_header_always_gets_the_same_version_and_values_are_spread_by_shares(
    root: Path,
) -> None:
    choose(
        root, aliases=PINNED, splits={"default": {"shares": {"1": 0.7, "2": 0.3}, "by": "header", "header": "X-User"}}
    )
    async with in_process(Settings(models=root)) as (client, services):
        users = [f"user {number}" for number in range(100)]
        first = {user: await asked(client, **{"X-User": user}) for user in users}
        assert first == {user: await asked(client, **{"x-user": user}) for user in users}
        assert 15 < Counter(first.values())["2"] < 45
        counted = {version: metric(services, "emo_alias_requests_total", version=version) for version in ("1", "2")}
        assert counted == {version: 2 * count for version, count in Counter(first.values()).items()}


async def test_requests_without_the_header_get_the_version_of_the_alias(root: Path) -> None:
    choose(root, aliases=PINNED, splits={"default": {"shares": {"1": 0, "2": 1}, "by": "header", "header": "X-User"}})
    async with in_process(Settings(models=root)) as (client, _):
        assert await asked(client) == "1"
        assert await asked(client, **{"X-User": "anybody"}) == "2"


async def test_whoever_was_sent_to_the_other_version_stays_there_while_its_share_grows(root: Path) -> None:
    async with in_process(Settings(models=root)) as (client, services):
        before: set[str] = set()
        for share in (0.1, 0.3, 0.6):
            split = {"shares": {"1": 1 - share, "2": share}, "by": "header", "header": "X-User"}
            choose(root, aliases=PINNED, splits={"default": split})
            await services.catalog.reconcile()
            answers = {str(user): await asked(client, **{"X-User": str(user)}) for user in range(40)}
            moved = {user for user, version in answers.items() if version == "2"}
            assert before < moved
            before = moved


@pytest.mark.parametrize(("share", "version"), [(0, "1"), (1, "2")])
async def test_a_share_of_nothing_or_of_all_is_exact(root: Path, share: int, version: str) -> None:
    choose(root, aliases=PINNED, splits={"default": {"shares": {"1": 1 - share, "2": share}, "by": "request"}})
    async with in_process(Settings(models=root)) as (client, _):
        assert {await asked(client) for _ in range(50)} == {version}


async def test_by_client_each_of_them_keeps_its_version(root: Path) -> None:
    choose(root, aliases=PINNED, splits={"default": HALVES})
    async with in_process(Settings(models=root, client_header="X-Client")) as (client, _):
        for name in ("a", "b", "c", "d", "e", "f", "g", "h"):
            assert len({await asked(client, **{"X-Client": name}) for _ in range(3)}) == 1
        assert {await asked(client, **{"X-Client": str(number)}) for number in range(30)} == {"1", "2"}


async def test_by_client_the_owner_of_an_api_key_keeps_its_version_whatever_the_address(root: Path) -> None:
    owners = [f"owner{number}" for number in range(24)]
    lines = [f"{owner}:{hashlib.sha256(owner.encode()).hexdigest()}" for owner in owners]
    (root / ".keys").write_text("\n".join(lines), encoding="utf-8")
    choose(root, aliases=PINNED, splits={"default": HALVES})
    settings = Settings(models=root, api_keys_file=root / ".keys", client_header="X-Client")
    async with in_process(settings) as (client, _):
        got = {
            owner: {await asked(client, **{"X-API-Key": owner, "X-Client": name}) for name in "ab"} for owner in owners
        }
        assert {len(versions) for versions in got.values()} == {1}
        assert set.union(*got.values()) == {"1", "2"}


async def test_by_request_the_id_that_a_client_gives_decides(root: Path) -> None:
    choose(root, aliases=PINNED, splits={"default": {**HALVES, "by": "request"}})
    async with in_process(Settings(models=root)) as (client, _):
        assert {await asked(client) for _ in range(40)} == {"1", "2"}
        assert len({await asked(client, **{"X-Request-Id": "always-this"}) for _ in range(5)}) == 1


async def test_a_request_that_names_a_version_or_another_alias_is_not_split(root: Path) -> None:
    choose(root, aliases={"default": "1", "old": "1"}, splits={"default": {"shares": {"1": 0, "2": 1}}})
    async with in_process(Settings(models=root)) as (client, services):
        assert await asked(client) == "2"
        assert await asked(client, "/classify?version=default") == "2"
        assert await asked(client, f"/classify?model={NAME}") == "2"
        assert await asked(client, "/classify?version=1") == "1"
        assert await asked(client, "/classify?version=old") == "1"
        assert metric(services, "emo_alias_requests_total", version="2") == 3
        assert metric(services, "emo_alias_requests_total", version="1", alias="old") == 1


async def test_protocols_of_other_servers_are_split_too(root: Path) -> None:
    choose(root, aliases=PINNED, splits={"default": {"shares": {"1": 0, "2": 1}}})
    async with in_process(Settings(models=root)) as (client, services):
        calls: list[tuple[str, dict[str, Any]]] = [
            (f"/predictions/{NAME}", {"content": RED}),
            (f"/models/{NAME}", {"content": RED}),
            (f"/v1/models/{NAME}:predict", {"json": {"instances": [{"b64": base64.b64encode(RED).decode()}]}}),
            ("/v1/vision/scene", {"files": {"image": RED}}),
            ("/invocations", {"content": RED, "headers": {"Content-Type": "image/png"}}),
        ]
        for path, options in calls:
            before = metric(services, "emo_alias_requests_total", version="2")
            response = await client.post(path, **options)
            assert response.status_code == 200, (path, response.text)
            assert "red" in response.text
            assert metric(services, "emo_alias_requests_total", version="2") == before + 1, path
        assert (await client.post(f"/predictions/{NAME}/1", content=RED)).status_code == 200
        assert metric(services, "emo_alias_requests_total", version="1") == 0


# ---- changes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "fault"),
    [
        ({"splits": {"default": {"shares": {"1": 0.5, "7": 0.5}}}}, "names version 7, which is not served"),
        ({"shadows": {"default": {"version": "7", "share": 1}}}, "names version 7, which is not served"),
        ({"splits": {"default": {"shares": {"1": 0.5, "3": 0.5}}}}, "whose task is detect, not classify"),
        ({"splits": {"default": {"shares": {"1": 0.5, "2": 0.4}}}}, "the shares are 0.9 together, and must be 1"),
        ({"splits": {"default": {"shares": {"1": 1.5, "2": -0.5}}}}, "splits.default.shares.1: must be less"),
        ({"splits": {"default": {**HALVES, "by": "header"}}}, "by 'header' needs the name of one"),
        ({"splits": {"default": {**HALVES, "header": "X-User"}}}, "the header 'X-User' decides nothing"),
        (
            {"splits": {"default": {**HALVES, "by": "header", "header": "X User"}}},
            "splits.default.header: must match",
        ),
        ({"splits": {"default": {**HALVES, "by": "moon"}}}, "splits.default.by: must be 'client'"),
        ({"splits": {"default": {"shares": {"2": 1}}}}, "leaves out its own version, 1"),
        ({"splits": {"canary": HALVES}}, "which is no alias"),
        ({"shadows": {"default": {"version": "1", "share": 1}}}, "is its own version, 1"),
        ({"shadows": {"default": {"version": "2", "share": 2}}}, "shadows.default.share: must be less"),
        ({"splits": {"default": HALVES}, "unloaded": ["2"]}, "version 2 is unloaded, and the split"),
    ],
)
async def test_a_fault_in_the_config_is_named_and_what_was_in_force_goes_on(
    root: Path, choices: dict[str, Any], fault: str
) -> None:
    write_detector(root, NAME, "3")
    choose(root, aliases=PINNED, splits={"default": {"shares": {"1": 0, "2": 1}}})
    async with in_process(Settings(models=root)) as (client, services):
        choose(root, **{"aliases": PINNED, **choices})
        await services.catalog.reconcile()
        assert fault in services.catalog.failures[f"{NAME}/serving.json"]
        assert await asked(client) == "2"


async def test_where_nothing_was_in_force_the_version_of_the_alias_answers_alone(root: Path) -> None:
    choose(root, aliases=PINNED, splits={"default": {"shares": {"1": 0, "7": 1}}})
    async with in_process(Settings(models=root)) as (client, services):
        assert await asked(client) == "1"
        assert "names version 7" in services.catalog.failures[f"{NAME}/serving.json"]


async def test_a_version_that_a_split_or_a_shadow_needs_stays_when_its_folder_goes(root: Path) -> None:
    write_classifier(root, version="3")
    shadow = {"default": {"version": "3", "share": 1}}
    choose(root, aliases=PINNED, splits={"default": {"shares": {"1": 0, "2": 1}}}, shadows=shadow)
    async with in_process(Settings(models=root)) as (client, services):
        for version in ("2", "3"):
            (root / NAME / version).rename(root / f".{version}")
        await services.catalog.reconcile()
        assert await asked(client) == "2"
        await until(lambda: metric(services, "emo_shadow_copies_total", version="3", outcome="compared") == 1)
        assert "stays loaded because 'default' names it" in services.catalog.failures[f"{NAME}/3"]
