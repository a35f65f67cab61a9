"""What holds for every protocol: keys, switching off, its errors, and nothing that is fetched."""

import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import httpx
import pytest

from emo_serve.api.protocols.adapter import Adapters
from emo_serve.main import protocol_adapters
from emo_serve.setting_types import ProtocolName
from tests.helpers.entries import counting
from tests.protocols.conftest import Served
from tests.protocols.pictures import RED
from tests.protocols.seeds import PREFIXES, SEEDS, Seed, is_error_of
from tests.serving import in_process, settings_for
from tests.support import write_segmenter

pytestmark = pytest.mark.anyio

KEY = "a-key-of-alice"


@pytest.fixture(scope="module")
async def keyed(
    anyio_backend: str,  # noqa: ARG001  makes anyio run this fixture
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that wants keys."""
    folder = tmp_path_factory.mktemp("keyed")
    (folder / "models").mkdir()
    keys = folder / "keys"
    keys.write_text(f"alice:{hashlib.sha256(KEY.encode()).hexdigest()}\n", encoding="utf-8")
    settings = settings_for(folder / "models", api_keys_file=keys)
    write_segmenter(folder / "models")
    async with in_process(settings) as (client, _):
        yield client


def filled(template: str) -> str:
    """A path of a route, its variable parts filled in."""
    return re.sub(r"\{version(:int)?\}", "1", re.sub(r"\{\w+\}", "toy-classifier", template))


def test_every_protocol_has_its_adapter_and_seeds() -> None:
    assert set(protocol_adapters({})) == set(get_args(ProtocolName)) == {seed.protocol for seed in SEEDS}


async def test_every_route_of_every_protocol_needs_a_key_but_probes(keyed: httpx.AsyncClient) -> None:
    adapters = Adapters(protocol_adapters({}).values())
    for route in adapters.routes:
        for method in sorted(route.methods or ()):
            answer = await keyed.request(method, filled(route.path))
            is_open = route.path in adapters.open_paths and method in ("GET", "HEAD")
            assert (answer.status_code == 401) == (not is_open), (method, route.path, answer.status_code)


async def test_probes_are_logged_for_debugging_only(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    probes = {"/livez", "/readyz", *Adapters(protocol_adapters({}).values()).open_paths}
    with caplog.at_level("INFO"):
        for path in sorted({*probes, "/v2"}):
            await client.get(path)
    logged = [record.__dict__["path"] for record in caplog.records if record.name == "emo_serve.access"]
    assert logged == ["/v2"]


async def test_no_adapter_is_asked_on_the_way_of_an_own_request(client: httpx.AsyncClient) -> None:
    with counting() as entries:
        entries.counts = True
        for path in ("/classify", "/detect"):
            assert (await client.post(path, content=RED, headers={"content-type": "image/png"})).status_code == 200
    files = {file for file, _ in entries.calls}
    assert "api/http/admission.py" in files
    assert [file for file in files if file.startswith("api/protocols/")] == []


async def test_below_a_path_the_protocols_are_there_too(tmp_path: Path) -> None:
    async with in_process(settings_for(tmp_path, root_path="/vision")) as (client, _):
        for prefix in ("", "/vision"):
            answer = await client.post(f"{prefix}/v1/vision/custom/list/")
            assert answer.json()["models"] == ["toy-detector"]
        assert (await client.get("/vision/v2/nothing")).json().keys() == {"error"}


async def test_an_open_path_is_open_to_be_read_only(keyed: httpx.AsyncClient) -> None:
    for path in ("/", "/livez", "/docs", "/v2/health/ready"):
        assert (await keyed.get(path)).status_code < 400
        for method in ("POST", "PUT", "DELETE"):
            assert (await keyed.request(method, path)).status_code == 401


@pytest.mark.parametrize("seed", SEEDS, ids=str)
async def test_a_request_with_a_key_is_answered_and_one_without_is_refused_in_the_protocols_shape(
    keyed: httpx.AsyncClient, seed: Seed
) -> None:
    refused = await keyed.post(seed.path, content=seed.body, headers=seed.headers)
    assert (refused.status_code, is_error_of(seed.protocol, refused)) == (401, True), refused.text
    answer = await keyed.post(seed.path, content=seed.body, headers={**seed.headers, "X-API-Key": KEY})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("protocol", get_args(ProtocolName))
async def test_a_protocol_that_is_switched_off_is_not_there(tmp_path: Path, protocol: ProtocolName) -> None:
    others = tuple(name for name in get_args(ProtocolName) if name != protocol)
    async with in_process(settings_for(tmp_path, protocols=others)) as (client, _):
        for seed in SEEDS:
            answer = await client.post(seed.path, content=seed.body, headers=seed.headers)
            is_off = seed.protocol == protocol or "segmenter" in seed.path
            assert (answer.status_code in (404, 405)) == is_off, (seed, answer.text)
            if seed.protocol == protocol:
                assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("seed", SEEDS, ids=str)
async def test_a_full_server_refuses_in_the_protocols_shape_and_names_a_time(served: Served, seed: Seed) -> None:
    client, services = served
    taken = services.settings.max_inflight_bytes - services.bodies.held
    services.bodies.take(taken)
    try:
        answer = await client.post(seed.path, content=seed.body, headers=seed.headers)
    finally:
        services.bodies.give_back(taken)
    assert (answer.status_code, is_error_of(seed.protocol, answer)) == (503, True), answer.text
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("seed", SEEDS, ids=str)
async def test_too_large_a_body_is_refused_in_the_protocols_shape(client: httpx.AsyncClient, seed: Seed) -> None:
    answer = await client.post(seed.path, content=bytes(200_001), headers=seed.headers)
    assert (answer.status_code, is_error_of(seed.protocol, answer)) == (413, True)


@pytest.mark.parametrize(("protocol", "prefix"), PREFIXES)
async def test_an_unknown_path_below_a_protocols_own_gets_its_error(
    client: httpx.AsyncClient, protocol: str, prefix: str
) -> None:
    for path in (f"{prefix}/nothing/at/all", f"{prefix}/%00"):
        answer = await client.get(path)
        assert (answer.status_code in (404, 405), is_error_of(protocol, answer)) == (True, True), answer.text


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if seed.with_address is not None], ids=str)
async def test_an_address_is_never_fetched(client: httpx.AsyncClient, seed: Seed) -> None:
    assert seed.with_address is not None
    answer = await client.post(seed.path, content=seed.with_address, headers=seed.headers)
    assert 400 <= answer.status_code < 500
    assert "not fetched" in answer.text
