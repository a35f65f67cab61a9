"""The administration, of a server with one process."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from emo_serve.api.http.auth import read_token
from emo_serve.api.wire.model_schemas import WorkerStates
from emo_serve.api.wire.schemas import ProblemDocument
from emo_serve.errors import StartupError
from emo_serve.main import create_admin_app
from emo_serve.settings import Settings
from tests.serving import in_process, settings_for
from tests.support import encode_image, plain, write_classifier

pytestmark = pytest.mark.anyio

NAME = "toy-classifier"
TOKEN = "a token for tests"  # noqa: S105  # as it says
PNG = {"content-type": "image/png"}
RED = encode_image(plain("red"))


@dataclass(frozen=True, slots=True)
class Server:
    """Both sides of a server, and its repository with versions 1 and 2."""

    client: httpx.AsyncClient
    admin: httpx.AsyncClient
    models: Path

    async def serves(self, query: str = "") -> str:
        response = await self.client.post(f"/classify{query}", content=RED, headers=PNG)
        assert response.status_code == 200, response.text
        version: str = response.json()["model"]["version"]
        return version

    async def versions(self) -> list[str]:
        (worker,) = WorkerStates.model_validate_json((await self.admin.get("/models")).content).workers
        return [entry.version for entry in worker.models if entry.name == NAME]


@pytest.fixture
async def server(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Server]:  # noqa: ARG001  for anyio
    settings = settings_for(tmp_path, admin_port=0, admin_token=TOKEN)
    write_classifier(tmp_path, version="2", turn=1)
    async with in_process(settings) as (client, services):
        transport = httpx.ASGITransport(create_admin_app(services))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://admin", headers=headers) as admin:
            yield Server(client, admin, tmp_path)


def assert_problem(response: httpx.Response, status: int, detail: str) -> None:
    document = ProblemDocument.model_validate_json(response.content)
    assert (response.status_code, document.status) == (status, status), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert detail in document.detail
    assert document.request_id == response.headers["X-Request-Id"]


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \u00e9"]
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/models"), ("DELETE", f"/models/{NAME}/2"), ("GET", "/nothing")])
async def test_without_the_token_nothing_is_told_or_done(server: Server, header: str, method: str, path: str) -> None:
    response = await server.admin.request(method, path, headers={b"Authorization": header.encode("latin-1")})
    assert_problem(response, 401, "Bearer")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert await server.versions() == ["1", "2"]


async def test_what_is_loaded_is_listed(server: Server) -> None:
    states = WorkerStates.model_validate_json((await server.admin.get("/models")).content)
    (worker,) = states.workers
    defaults = [(entry.name, entry.version) for entry in worker.models if entry.default]
    assert defaults == [(NAME, "2"), ("toy-detector", "1")]
    assert not worker.failures


async def test_the_version_that_answers_is_rolled_back_and_forth_by_an_alias(server: Server) -> None:
    assert await server.serves() == "2"
    for version in ("1", "2"):
        assert (await server.admin.put(f"/models/{NAME}/aliases/default?version={version}")).status_code == 200
        assert await server.serves() == await server.serves("?version=default") == version
    assert (await server.admin.put(f"/models/{NAME}/aliases/canary?version=1")).status_code == 200
    assert await server.serves("?version=canary") == "1"
    summaries = (await server.client.get("/models")).json()["models"]
    assert {entry["version"]: entry["aliases"] for entry in summaries if entry["name"] == NAME} == {
        "1": ["canary"],
        "2": ["default"],
    }
    assert (await server.admin.delete(f"/models/{NAME}/aliases/canary")).status_code == 200
    response = await server.client.post("/classify?version=canary", content=RED, headers=PNG)
    assert_problem(response, 404, "there are: 1, 2")


async def test_the_default_is_unloaded_and_loaded_again(server: Server) -> None:
    assert (await server.admin.delete(f"/models/{NAME}/2")).status_code == 200
    assert await server.serves() == "1"
    assert (await server.admin.post("/rescan")).status_code == 200
    assert await server.versions() == ["1"]
    assert (await server.admin.post(f"/models/{NAME}/2")).status_code == 200
    assert await server.serves() == "2"


async def test_a_model_is_known_in_both_spellings_of_its_name(server: Server) -> None:
    model = f"/models/{NAME.replace('-', '_')}"
    assert (await server.admin.put(f"{model}/aliases/canary?version=1")).status_code == 200
    assert await server.serves("?version=canary") == "1"
    assert (await server.admin.delete(f"{model}/aliases/canary")).status_code == 200
    assert (await server.admin.delete(f"{model}/2")).status_code == 200
    assert await server.serves() == "1"
    assert (await server.admin.post(f"{model}/2")).status_code == 200
    assert await server.serves() == "2"


async def test_what_is_pinned_or_the_last_is_not_unloaded(server: Server) -> None:
    await server.admin.put(f"/models/{NAME}/aliases/default?version=2")
    assert_problem(await server.admin.delete(f"/models/{NAME}/2"), 409, "named by the alias 'default'")
    assert (await server.admin.delete(f"/models/{NAME}/1")).status_code == 200
    await server.admin.delete(f"/models/{NAME}/aliases/default")
    assert_problem(await server.admin.delete(f"/models/{NAME}/2"), 409, "is the last of model")
    assert await server.serves() == "2"


async def test_of_two_that_unload_the_last_two_versions_at_once_one_is_refused(server: Server) -> None:
    answers = await asyncio.gather(*(server.admin.delete(f"/models/{NAME}/{version}") for version in "12"))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    unloaded = json.loads((server.models / NAME / "serving.json").read_text())["unloaded"]
    assert len(unloaded) == 1
    assert await server.versions() == [version for version in "12" if version not in unloaded]


async def test_a_config_that_cannot_be_read_is_told_before_what_the_last_one_lacked(server: Server) -> None:
    config = server.models / NAME / "serving.json"
    for content in ('{"aliases": {"default": "77"}}', "garbage"):
        config.write_text(content)
        await server.admin.post("/rescan")
    (failure,) = (await server.client.get("/models")).json()["failures"]
    assert "Invalid JSON" in failure["reason"]


async def test_a_version_that_cannot_be_served_is_refused_with_the_reason(server: Server) -> None:
    write_classifier(server.models, version="3", golden_shift=0.5)
    response = await server.admin.post(f"/models/{NAME}/3")
    assert_problem(response, 409, "Version 3 of model 'toy-classifier' is not served: toy-classifier/3/model.onnx")
    assert str(server.models) not in response.text
    assert await server.serves() == "2"
    write_classifier(server.models, version="4", golden_shift=0.5)
    response = await server.admin.post(f"/models/{NAME}/4")
    assert_problem(response, 409, "Version 4 of model 'toy-classifier' is not served: toy-classifier/4/model.onnx")
    assert "classifier/3" not in response.text
    (server.models / NAME / "4").rename(server.models / ".gone")
    await server.admin.post("/rescan")
    listing = (await server.client.get("/models")).json()
    assert [failure["path"] for failure in listing["failures"]] == [f"{NAME}/3"]


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("POST", f"/models/{NAME}/9", 404, "no folder for version '9'"),
        ("DELETE", f"/models/{NAME}/9", 404, "no folder for version '9'"),
        ("POST", "/models/../1", 404, ""),
        ("POST", "/models/%2e%2e/1", 404, ""),
        ("POST", "/models/nothing/1", 404, "a model 'nothing'"),
        ("PUT", "/models/nothing/aliases/canary?version=1", 404, "no model 'nothing'"),
        ("PUT", f"/models/{NAME}/aliases/canary?version=9", 422, "allowed are the versions that are served: 1, 2"),
        ("PUT", f"/models/{NAME}/aliases/canary", 422, "allowed are the versions that are served: 1, 2"),
        ("PUT", f"/models/{NAME}/aliases/7?version=1", 422, "alias = '7': allowed is a small letter"),
        ("PUT", f"/models/{NAME}/aliases/canary?versoin=1", 422, "Unknown parameter 'versoin'"),
        ("DELETE", f"/models/{NAME}/aliases/canary", 404, "has no alias 'canary'"),
        ("GET", "/nothing", 404, "nothing at"),
        ("GET", "/rescan", 405, "POST"),
    ],
)
async def test_what_cannot_be_done_is_a_problem(
    server: Server, method: str, path: str, status: int, detail: str
) -> None:
    assert_problem(await server.admin.request(method, path), status, detail)
    assert await server.versions() == ["1", "2"]


async def test_choices_that_cannot_be_written_are_a_conflict(server: Server) -> None:
    (server.models / NAME / "serving.json").mkdir()
    assert_problem(await server.admin.delete(f"/models/{NAME}/1"), 409, "cannot be written")


def test_an_admin_port_needs_a_token_that_is_one(tmp_path: Path) -> None:
    assert Settings().admin_port is None
    for wrong in ({}, {"admin_token": "short"}, {"admin_token": TOKEN, "admin_token_file": tmp_path / "token"}):
        with pytest.raises(ValueError, match=r"(?i)admin_token"):
            Settings.model_validate({"admin_port": 0, **wrong})
    settings = Settings(admin_port=0, admin_token_file=tmp_path / "token")
    with pytest.raises(StartupError, match="token: the token cannot be read"):
        read_token(settings)
    os.mkfifo(tmp_path / "token")
    with pytest.raises(StartupError, match="token: the token cannot be read: it is a FIFO"):
        read_token(settings)
    (tmp_path / "token").unlink()
    (tmp_path / "token").write_text("short\n")
    with pytest.raises(StartupError, match="at least 16 are needed"):
        read_token(settings)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(settings) == TOKEN
    assert TOKEN not in repr(Settings(admin_port=0, admin_token=TOKEN))


def test_a_token_of_blanks_is_none(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="EMO_ADMIN_TOKEN: the token has 0 characters, at least 16"):
        read_token(settings_for(tmp_path, admin_port=0, admin_token=" " * 16))
