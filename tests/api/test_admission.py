"""Who asks, and until when."""

import httpx
import pytest
from fastapi import Request
from starlette.exceptions import HTTPException

from emo_serve.api.http.admission import client_of, seconds_to_answer
from emo_serve.api.wire.schemas import ProblemDocument
from tests.support import encode_image, plain

PNG = {"content-type": "image/png"}
RED = encode_image(plain("red"))


def request(*headers: tuple[str, str]) -> Request:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    return Request({"type": "http", "headers": raw, "client": ("192.0.2.7", 50000)})


def test_the_client_is_the_address_of_the_connection_unless_a_header_is_trusted() -> None:
    forwarded = request(("X-Forwarded-For", "198.51.100.1, 203.0.113.9"))
    assert client_of(forwarded, None) == "192.0.2.7"
    assert client_of(forwarded, "X-Forwarded-For") == "203.0.113.9"
    assert client_of(request(), "X-Forwarded-For") == "192.0.2.7"
    assert client_of(request(("X-Forwarded-For", "")), "X-Forwarded-For") == "192.0.2.7"


def test_of_several_headers_the_last_counts_because_the_first_may_be_forged() -> None:
    twice = request(("X-Forwarded-For", "forged"), ("X-Forwarded-For", "203.0.113.9"))
    assert client_of(twice, "x-forwarded-for") == "203.0.113.9"
    assert len(client_of(request(("Key", "k" * 1000)), "Key")) == 128


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("1", 0.001), ("250", 0.25), ("99999999999999", 30.0), ("9" * 19, 30.0), ("9" * 8000, 30.0), ("007", 0.007)],
)
def test_the_deadline_is_what_is_asked_for_up_to_the_servers_maximum(value: str, seconds: float) -> None:
    assert seconds_to_answer(request(("X-Request-Timeout-Ms", value)), 30.0) == seconds


def test_without_the_header_the_servers_maximum_counts() -> None:
    assert seconds_to_answer(request(), 30.0) == 30.0


@pytest.mark.parametrize("value", ["", "0", "-5", "1.5", "1e3", "soon", "\u0663", "1 000", "0" * 19])
def test_a_deadline_that_is_no_number_of_milliseconds_is_refused_with_what_is_allowed(value: str) -> None:
    with pytest.raises(HTTPException) as refused:
        seconds_to_answer(request(("X-Request-Timeout-Ms", value)), 30.0)
    assert refused.value.status_code == 400
    assert "at least 1; more than 30000 counts as that" in refused.value.detail
    with pytest.raises(HTTPException):
        seconds_to_answer(request(("X-Request-Timeout-Ms", "5"), ("X-Request-Timeout-Ms", "5")), 30.0)


@pytest.mark.anyio
async def test_a_wrong_deadline_is_a_problem_document(client: httpx.AsyncClient) -> None:
    for path in ("/classify", "/detect", "/segment"):
        response = await client.post(path, content=RED, headers={**PNG, "X-Request-Timeout-Ms": "soon"})
        document = ProblemDocument.model_validate_json(response.content)
        assert (response.status_code, document.type) == (400, "urn:emo-serve:problem:bad-request")
        assert "'soon'" in document.detail
        assert document.request_id == response.headers["X-Request-Id"]


@pytest.mark.anyio
async def test_a_good_deadline_changes_nothing_for_a_quick_answer(client: httpx.AsyncClient) -> None:
    response = await client.post("/classify", content=RED, headers={**PNG, "X-Request-Timeout-Ms": "20000"})
    assert response.status_code == 200
