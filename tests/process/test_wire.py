"""What a server does with bytes that are no usual request: whatever they are, one answer that says what is wrong."""

import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from emo_serve.api.wire.schemas import ProblemDocument
from tests.process.wire import IMAGE, LAST, LIVE, ask, chunked, length, post, trickle
from tests.serving import Running, running, settings_for
from tests.support import PATIENCE_SECONDS

UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
EVERY_ANSWER = ("x-request-id", "server-timing", "x-content-type-options", "cache-control", "content-security-policy")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(settings_for(tmp_path_factory.mktemp("models"))) as server:
        yield server


REFUSED: dict[str, tuple[int, str, bytes]] = {
    "not http": (400, "well-formed", b"\x16\x03\x01\x02\x00\r\n"),
    "an unknown method": (400, "method", b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target that is none": (400, "url", b"GET nowhere HTTP/1.1\r\nHost: x\r\n\r\n"),
    "bare line feeds": (400, "CRLF", b"GET / HTTP/1.1\nHost: x\n\n"),
    "a space before the colon": (400, "header", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"),
    "a folded header": (400, "whitespace", b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n"),
    "no host": (400, "0 Host headers", b"GET /livez HTTP/1.1\r\n\r\n"),
    "two hosts": (400, "2 Host headers", b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"),
    "two hosts of old": (400, "2 Host headers", b"GET /livez HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n"),
    "no name of a host": (400, "no name", b"GET /livez HTTP/1.1\r\nHost: x y\r\n\r\n"),
    "another version": (505, "HTTP/2.0", b"GET /livez HTTP/2.0\r\nHost: x\r\n\r\n"),
    "no version": (505, "HTTP/0.9", b"GET /livez\r\n\r\n"),
    "the protocol of cameras": (505, "RTSP/1.0", b"GET /livez RTSP/1.0\r\n\r\n"),
    "the newest number of it": (505, "RTSP/1.1", b"OPTIONS /livez RTSP/1.1\r\nHost: x\r\n\r\n"),
    "one of its methods": (505, "RTSP/1.0", b"DESCRIBE /livez RTSP/1.0\r\nCSeq: 2\r\n\r\n"),
    "the protocol of radios": (505, "ICE/1.0", b"SOURCE /livez ICE/1.0\r\n\r\n"),
    "one with a body": (
        505,
        "RTSP/1.0",
        post(length(IMAGE)).replace(b"POST /classify HTTP/1.1", b"ANNOUNCE /classify RTSP/1.0") + IMAGE,
    ),
    "empty lines before another protocol": (505, "RTSP/1.0", b"\r\n\r\nGET /livez RTSP/1.0\r\n\r\n"),
    "another protocol in small letters": (400, "well-formed", b"GET /livez rtsp/1.0\r\n\r\n"),
    "a protocol that nobody knows": (400, "well-formed", b"GET /livez SIP/2.0\r\nHost: x\r\n\r\n"),
    "HTTP/2 without asking": (400, "well-formed", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "for a proxy": (501, "CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    "two codings": (501, "'gzip, chunked'", post("Transfer-Encoding: gzip, chunked") + chunked(IMAGE, 50)),
    "two codings in two headers": (
        501,
        "'gzip, chunked'",
        post("Transfer-Encoding: gzip", "Transfer-Encoding: chunked") + chunked(IMAGE, 50),
    ),
    "chunks twice": (400, "Transfer-Encoding", post("Transfer-Encoding: chunked, chunked") + chunked(IMAGE, 50)),
    "a coding alone": (501, "'gzip'", post("Transfer-Encoding: gzip") + IMAGE),
    "no coding": (501, "'identity'", post("Transfer-Encoding: identity")),
    "two lengths": (400, "Content-Length", post(length(IMAGE), length(IMAGE)) + IMAGE),
    "a length and chunks": (400, "Transfer-Encoding", post(length(IMAGE), "Transfer-Encoding: chunked")),
    "a length below nothing": (400, "Content-Length", post("Content-Length: -1")),
    "chunks of old": (
        400,
        "HTTP/1.0",
        post("Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0") + chunked(IMAGE, 50),
    ),
    "a long target": (414, "8192", b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target without end": (414, "8192", b"GET /" + b"x" * 1_000_000),
    "a long query": (414, "8192", b"POST /classify?model=" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a long value": (431, "8192", post("X-Long: " + "x" * 9000)),
    "a long name": (431, "8192", post("x" * 9000 + ": x")),
    "a header without end": (431, "8192", b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1_000_000),
    "many headers": (431, "100", post(*["a: b"] * 100)),
    "headers without end": (431, "100", b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 100_000),
    "a large head": (431, "65536", post(*["X: " + "x" * 7000] * 10)),
    "empty lines without end": (431, "headers", b"\r\n" * 100_000),
    "no number of a chunk": (400, "chunk size", post("Transfer-Encoding: chunked") + b"zz\r\n"),
    "a chunk that is longer than it says": (400, "chunk data", post("Transfer-Encoding: chunked") + b"1\r\nxx\r\n"),
    "tiny chunks": (400, "too small", post("Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 100_000),
    "a size without end": (400, "beside", post("Transfer-Encoding: chunked") + b"0" * 200_000),
    "an extension without end": (400, "beside", post("Transfer-Encoding: chunked") + b"1;" + b"x" * 200_000),
    "a trailer without end": (400, "beside", post("Transfer-Encoding: chunked") + b"0\r\nT: " + b"x" * 200_000),
    "trailers without end": (400, "beside", post("Transfer-Encoding: chunked") + b"0\r\n" + b"a: b\r\n" * 50_000),
}


@pytest.mark.parametrize(("status", "reason", "text"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_request_or_too_much_of_one_gets_a_problem_document_and_the_connection_is_closed(
    server: Running, status: int, reason: str, text: bytes
) -> None:
    (answer,) = ask(server.port, text)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    document = ProblemDocument.model_validate_json(answer.body)
    assert (document.status, document.request_id) == (status, answer.headers["x-request-id"])
    assert reason in document.detail
    assert answer.headers["connection"] == "close"
    assert all(name in answer.headers for name in EVERY_ANSWER)


def test_a_refused_request_is_known_by_the_id_that_it_brought(server: Running) -> None:
    (answer,) = ask(server.port, b"GET / HTTP/1.1\r\nX-Request-Id: mine\r\nHost: x\r\nX: y\r\nBad header\r\n\r\n")
    assert answer.headers["x-request-id"] == "mine"


def test_a_refusal_is_counted_under_a_route_and_a_method_that_no_client_makes_up(server: Running) -> None:
    ask(server.port, b"FOO / HTTP/1.1\r\n\r\n")
    ask(server.port, b"PROPFIND /%d HTTP/1.1\r\n\r\n" % random.getrandbits(64))
    text = ask(server.port, LAST.replace(b"livez", b"metrics"))[0].body.decode()
    counted = [line for line in text.splitlines() if line.startswith("emo_http_request_seconds_count")]
    assert any('method="other",route="other",status="4xx"' in line for line in counted)
    assert not [line for line in counted if "PROPFIND" in line or "FOO" in line]


@pytest.mark.parametrize(
    "text",
    [
        b"GET /livez?" + b"x" * 8000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + b"a: b\r\n" * 98 + b"\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + (b"a: " + b"b" * 7900 + b"\r\n") * 8 + b"\r\n",
        b"GET /livez HTTP/1.1\r\nHost: [::1]:8000\r\nConnection: close\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
        b"GET /livez HTTP/1.0\r\n\r\n",
        b"\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET http://x/livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_what_is_within_the_limits_is_answered(server: Running, text: bytes) -> None:
    assert [answer.status for answer in ask(server.port, text)] == [200]


@pytest.mark.parametrize("zeros", [50, 5000])
@pytest.mark.parametrize("blanks", ["", " \t"])
def test_no_way_to_write_a_length_escapes_the_early_refusal(server: Running, zeros: int, blanks: str) -> None:
    head = post("Connection: close", f"Content-Length: {'0' * zeros}9999999999{blanks}")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_leading_zeros_alone_are_no_fault(server: Running) -> None:
    (answer,) = ask(server.port, post("Connection: close", f"Content-Length: {len(IMAGE):0100}") + IMAGE)
    assert answer.status == 200


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "h2c, websocket"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_offer_of_another_protocol_is_passed_over_and_the_body_and_what_follows_are_not(
    server: Running, upgrade: str, is_chunked: bool
) -> None:
    offer = [line.replace("h2c", upgrade) for line in UPGRADE]
    body = chunked(IMAGE, 30) if is_chunked else IMAGE
    head = post(*offer, "Transfer-Encoding: chunked" if is_chunked else length(IMAGE))
    text = head + body + LIVE + head + body + LAST
    alone = ask(server.port, post(length(IMAGE), "Connection: close") + IMAGE)[0].json()
    for cut in (0, len(head), len(head) + 10, len(text) - 20):
        found = ask(server.port, text[:cut], text[cut:])
        assert [answer.status for answer in found] == [200] * 4
        assert found[0].json() == found[2].json() == alone


def test_an_offer_without_a_body_and_one_that_waits_to_be_told_to_go_on_are_answered(server: Running) -> None:
    without = "\r\n".join(["GET /livez HTTP/1.1", "Host: x", *UPGRADE, "", ""]).encode()
    assert [answer.status for answer in ask(server.port, without + without + LAST)] == [200] * 3
    waits = post(*UPGRADE, length(IMAGE), "Expect: 100-continue")
    assert [answer.status for answer in ask(server.port, waits, IMAGE + LAST)] == [100, 200, 200]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl_that_offers_http_2_gets_its_answer(server: Running) -> None:
    command = ["curl", "--http2", "-s", "-w", " %{http_code} %{http_version}", "--data-binary", "@-"]
    command += ["-H", "Content-Type: image/png", f"{server.url}/classify"]
    output = subprocess.run(command, input=IMAGE, capture_output=True, check=True, timeout=PATIENCE_SECONDS).stdout
    assert b'"classifications"' in output
    assert output.endswith(b" 200 1.1")


def test_pipelined_requests_are_answered_in_order_wherever_the_pieces_end(server: Running) -> None:
    bodies = [length(IMAGE), "Transfer-Encoding: chunked"]
    parts = []
    for number in range(30):
        head = post(bodies[number % 2], f"X-Request-Id: {number}")
        parts.append(head + (chunked(IMAGE, 7 * number + 1) if number % 2 else IMAGE))
        parts.append(LIVE.replace(b"\r\n\r\n", b"\r\nX-Request-Id: live-%d\r\n\r\n" % number))
    text = b"".join(parts) + LAST
    generator = random.Random(1)
    for _ in range(10):
        cuts = sorted(generator.sample(range(len(text)), 200))
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        found = ask(server.port, *pieces)
        assert [answer.status for answer in found] == [200] * 61
        ids = [answer.headers["x-request-id"] for answer in found[:-1]]
        assert ids == [name for number in range(30) for name in (str(number), f"live-{number}")]


def test_what_looks_like_the_end_of_a_body_in_a_chunk_of_it_is_none_wherever_the_pieces_end(server: Running) -> None:
    body = IMAGE + b"\r\n\r\n0\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    for ending in (b"0\r\n\r\n", b"000;a=b\r\nA: 0\r\n\r\n"):
        text = post("Transfer-Encoding: chunked") + b"%04X;a\r\n%s\r\n" % (len(body), body) + ending + LAST
        end = len(text) - len(LAST)
        for cut in (*range(end - 90, end + 2), text.index(b";a"), text.index(b"\x89PNG")):
            assert [answer.status for answer in ask(server.port, text[:cut], text[cut:])] == [200, 200]
        single = [text[start : start + 1] for start in range(len(text))]
        assert [answer.status for answer in ask(server.port, *single)] == [200, 200]


def test_another_protocol_is_seen_wherever_the_pieces_end_and_behind_good_requests(server: Running) -> None:
    for text in (b"GET /livez RTSP/1.0\r\n\r\n", b"\r\nGET /livez RTSP/1.0\r\nHost: x\r\n\r\n"):
        for pieces in ([text[:cut], text[cut:]] for cut in range(1, len(text))):
            assert [answer.status for answer in ask(server.port, *pieces)] == [505]
        single = [text[start : start + 1] for start in range(len(text))]
        assert [answer.status for answer in ask(server.port, *single)] == [505]
        assert [answer.status for answer in ask(server.port, LIVE + text + LAST)] == [200, 505]


def test_what_is_wrong_behind_good_requests_is_answered_behind_their_answers(server: Running) -> None:
    good = post(length(IMAGE)) + IMAGE
    found = ask(server.port, good + LIVE + good + b"no request\r\n\r\n" + good)
    assert [answer.status for answer in found] == [200, 200, 200, 400]


def test_a_client_that_closes_its_sending_side_gets_the_answers_to_its_whole_requests(server: Running) -> None:
    whole = post(length(IMAGE)) + IMAGE
    for text, count in ((whole, 1), (post("Transfer-Encoding: chunked") + chunked(IMAGE, 50), 1), (LIVE, 1)):
        assert [answer.status for answer in ask(server.port, text, half_closes=True)] == [200] * count
    assert [answer.status for answer in ask(server.port, whole * 3 + LIVE, half_closes=True)] == [200] * 4
    assert [answer.status for answer in ask(server.port, whole + post(), LIVE[:9], half_closes=True)] == [200, 422]
    assert [answer.status for answer in ask(server.port, b"no request\r\n", half_closes=True)] == [400]


def test_what_breaks_off_gets_no_answer_and_the_connection_ends(server: Running) -> None:
    for text in (b"", LIVE[:9], post(length(IMAGE)) + IMAGE[:9], post("Transfer-Encoding: chunked") + b"5\r\nabc"):
        assert ask(server.port, text, half_closes=True) == []


def test_a_body_without_end_that_nobody_reads_does_not_keep_its_connection(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emo_serve.api.http.exchange._LINGER_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        began = time.monotonic()
        assert trickle(connection, 0.1).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - began < 5
