"""API keys: who is let in, how often, and that nothing else of a request is looked at before."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from emo_serve.api.http.auth import OPEN_PATHS, ApiKeyMiddleware, ApiKeys, RateLimiter
from emo_serve.api.http.key_file import read_keys
from emo_serve.api.http.services import Services
from emo_serve.api.routes.playground import FILES
from emo_serve.errors import RateExceeded, StartupError
from emo_serve.main import create_app
from tests.helpers.asgi import Client
from tests.serving import Gates, in_process, settings_for, until
from tests.support import encode_image, plain

pytestmark = pytest.mark.anyio

PNG = {"content-type": "image/png"}
RED = encode_image(plain("red"))
ALICE, BOB = "a-key-of-alice", "a-key-of-bob"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def keys_file(folder: Path) -> Path:
    path = folder / "keys"
    path.write_text(f"# who may ask\n\nalice:{digest(ALICE)}\nbob:{digest(BOB)}\n", encoding="utf-8")
    return path


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Services]]:
    (tmp_path / "models").mkdir()
    settings = settings_for(tmp_path / "models", api_keys_file=keys_file(tmp_path), max_request_bytes=200_000)
    async with in_process(settings) as served:
        yield served


@pytest.fixture
def client(served: tuple[httpx.AsyncClient, Services]) -> httpx.AsyncClient:
    return served[0]


@pytest.mark.parametrize(
    "headers", [bearer(ALICE), bearer(BOB), {"authorization": f"bearer  {BOB} "}, {"X-API-Key": BOB}]
)
async def test_whoever_shows_one_of_the_keys_is_let_in(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await client.post("/classify", content=RED, headers=PNG | headers)).status_code == 200
    assert (await client.get("/models", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(""),
        bearer("another"),
        bearer(ALICE + "x"),
        bearer(digest(ALICE)),  # what the file holds opens nothing
        {"authorization": f"Basic {ALICE}"},
        {"authorization": ALICE},
        {"X-API-Key": "alice"},
        {"X-API-Key": b"\xff\xfe"},
        {"cookie": f"key={ALICE}"},
    ],
)
async def test_without_a_valid_key_there_is_a_401_with_a_challenge(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await client.post("/classify", content=RED, headers=PNG | headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="emo-serve"'
    assert answer.json()["type"] == "urn:emo-serve:problem:unauthorized"


async def test_every_path_needs_a_key_but_those_on_a_short_list(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    settings = settings_for(tmp_path / "models", api_keys_file=keys_file(tmp_path))
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            document = app.openapi()
            assert len(document["paths"]) > 5
            for path in {*document["paths"], "/nowhere", "/livez/", "/%63lassify", "/models/x/y"}:
                operations = document["paths"].get(path, {"get": {}})
                for method, operation in operations.items():
                    status = (await client.request(method, path)).status_code
                    assert (status == 401) == (path.rstrip("/") not in OPEN_PATHS), (method, path)
                    assert ("security" in operation) == (status == 401 and path in document["paths"]), (method, path)
    page = {"/docs", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/openapi.json"}
    assert page | {"/livez", "/readyz", "/"} == OPEN_PATHS


@pytest.mark.parametrize("playground", [True, False])
async def test_the_files_of_the_playground_need_no_key_where_there_is_one(tmp_path: Path, playground: bool) -> None:
    (tmp_path / "models").mkdir()
    keys = keys_file(tmp_path)
    async with in_process(settings_for(tmp_path / "models", api_keys_file=keys, playground=playground)) as (client, _):
        for path in FILES:
            assert (await client.get(path)).status_code == (200 if playground else 401)
        assert (await client.get("/playground/nothing.js")).status_code == 401


async def test_without_a_key_nothing_else_of_a_request_is_looked_at() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError(scope, receive, send)

    stranger = Client()
    scope = {"type": "http", "method": "POST", "path": "/classify", "headers": [(b"content-length", b"1000")]}
    await ApiKeyMiddleware(app, ApiKeys(lambda: {"alice": bytes(32)}))(scope, stranger.receive, stranger.send)
    assert (stranger.status, stranger.reads) == (401, 0)


async def test_the_name_of_the_key_is_logged_and_the_key_never_is(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await client.get("/models", headers=bearer(ALICE))
        await client.get("/models", headers=bearer("wrong-key"))
    records = [record.__dict__ for record in caplog.records if record.name == "emo_serve.access"]
    assert [(record["status"], record.get("key")) for record in records] == [(200, "alice"), (401, None)]
    logged = " ".join(str(record.__dict__) for record in caplog.records if record.name.startswith("app"))
    assert ALICE not in logged
    assert "wrong-key" not in logged


async def test_the_name_of_the_key_is_the_client_that_takes_turns(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    settings = settings_for(
        tmp_path / "models",
        api_keys_file=keys_file(tmp_path),
        client_header="X-Forwarded-For",
        batching={"max_queue_size": 8, "instances": 1, "max_batch_size": 1},
    )
    gates = Gates()
    async with in_process(settings, gates.open_session) as (client, _):
        gate = gates.sessions["toy-classifier"].gate
        gate.clear()

        def ask(key: str, address: str) -> asyncio.Task[httpx.Response]:
            headers = PNG | bearer(key) | {"X-Forwarded-For": address}
            return asyncio.ensure_future(client.post("/classify", content=RED, headers=headers))

        mine = [ask(ALICE, f"192.0.2.{number}") for number in range(9)]  # whatever addresses it claims
        await until(lambda: sum(task.done() for task in mine) == 2)
        other = ask(BOB, "192.0.2.1")
        gate.set()
        assert sorted([(await task).status_code for task in mine]) == [200] * 7 + [503] * 2
        assert (await other).status_code == 200


async def test_one_key_that_asks_too_often_gets_429_and_the_others_their_answers(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    settings = settings_for(tmp_path / "models", api_keys_file=keys_file(tmp_path), api_key_requests_per_second=0.001)
    async with in_process(settings) as (client, _):
        assert (await client.get("/models", headers=bearer(ALICE))).status_code == 200
        refused = await client.post("/classify", content=RED, headers=PNG | bearer(ALICE))
        assert refused.status_code == 429
        problem = refused.json()
        assert problem["type"] == "urn:emo-serve:problem:rate-exceeded"
        assert 990 < int(refused.headers["retry-after"]) <= 1000
        assert 990_000 < problem["retry_after_ms"] <= 1_000_000
        assert (await client.get("/models", headers=bearer(BOB))).status_code == 200
        assert (await client.get("/livez")).status_code == 200


async def test_one_key_has_so_many_requests_at_a_time_and_one_that_ended_makes_room(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    settings = settings_for(tmp_path / "models", api_keys_file=keys_file(tmp_path), api_key_concurrency=1)
    gates = Gates()
    async with in_process(settings, gates.open_session) as (client, _):
        session = gates.sessions["toy-classifier"]
        session.gate.clear()
        first = asyncio.ensure_future(client.post("/classify", content=RED, headers=PNG | bearer(ALICE)))
        await until(lambda: session.waiting)
        refused = await client.get("/models", headers=bearer(ALICE))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert (await client.get("/models", headers=bearer(BOB))).status_code == 200
        session.gate.set()
        assert (await first).status_code == 200
        assert (await client.get("/models", headers=bearer(ALICE))).status_code == 200


def test_a_rate_lets_a_second_worth_of_requests_in_at_once_and_says_when_the_next_may_come() -> None:
    limiter = RateLimiter(per_second=4, at_a_time=None)
    for _ in range(4):
        limiter.acquire(10.0)
    with pytest.raises(RateExceeded) as refused:
        limiter.acquire(10.0)
    assert refused.value.retry_after_seconds == pytest.approx(0.25)
    limiter.acquire(10.25)
    with pytest.raises(RateExceeded):
        limiter.acquire(10.3)
    for _ in range(4):
        limiter.acquire(100.0)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "holds no API key"),
        ("# nothing\n", "holds no API key"),
        (f"alice:{digest(ALICE)}\nsecret-in-the-clear", "line 2"),
        (f"alice:{ALICE}", "line 1"),
        (f"alice:{digest(ALICE)}\nalice:{digest(BOB)}", "line 2: alice has a key in a line above; a name has one key"),
        (f"alice:{digest(ALICE)}\nbob:{digest(ALICE)}", "line 2: bob has the key of alice; a key has one name"),
        (f"al ice:{digest(ALICE)}", "line 1"),
    ],
)
def test_a_broken_keys_file_keeps_the_server_from_starting_and_is_not_repeated(
    tmp_path: Path, text: str, fault: str
) -> None:
    path = tmp_path / "keys"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StartupError, match=fault) as broken:
        read_keys(path)
    assert str(path) in str(broken.value)
    assert "secret" not in str(broken.value)
    assert ALICE not in str(broken.value)


def test_a_keys_file_that_is_missing_keeps_the_server_from_starting(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="No such file"):
        create_app(settings_for(tmp_path, api_keys_file=tmp_path / "none"))
