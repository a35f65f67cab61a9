import asyncio
import base64
import contextlib
import json
import time
from collections.abc import Callable
from math import inf

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from emo_serve.api.http.body_budget import BodyBudget, Reservation
from emo_serve.api.http.exchange import Exchange
from emo_serve.api.http.uploads import Uploads, read_uploads
from emo_serve.engine.scheduling.deadlines import Deadlines
from emo_serve.errors import ImageUndecodable, InvalidRequest, UnsupportedMediaType
from tests.helpers.asgi import Client, never

pytestmark = pytest.mark.anyio
BOUNDARY = "frontier"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def request(body: bytes, content_type: str | None, headers: dict[str, str] | None = None, chunk: int = 7) -> Exchange:
    pairs = {**({"content-type": content_type} if content_type else {}), **(headers or {})}
    client = Client([body[at : at + chunk] for at in range(0, len(body), chunk)] or [b""])
    return over(client.receive, pairs)


def over(receive: Receive, headers: dict[str, str]) -> Exchange:
    scope = {"headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    return Exchange(scope, receive, never, 1 << 30, asyncio.Event())


def reservation() -> Reservation:
    return BodyBudget(1 << 30).reserve()


async def read(body: bytes, content_type: str | None, headers: dict[str, str] | None = None) -> Uploads:
    return await read_uploads(request(body, content_type, headers), reservation(), 3, Deadlines(), 5)


def multipart(*images: bytes, name: str = "file") -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
        + image
        + b"\r\n"
        for image in images
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def b64(image: bytes) -> str:
    return base64.b64encode(image).decode()


@pytest.mark.parametrize("content_type", ["image/jpeg", "IMAGE/PNG", "image/x-whatever", "application/octet-stream"])
async def test_a_raw_body_is_one_image(content_type: str) -> None:
    assert await read(b"\x00pixels", content_type) == Uploads((b"\x00pixels",), several=False)


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "text/plain", "video/mp4", ";;="])
async def test_another_content_type_is_refused_with_a_hint_what_to_send(content_type: str | None) -> None:
    with pytest.raises(UnsupportedMediaType, match="-H 'Content-Type: image/jpeg'"):
        await read(b"pixels", content_type)


async def test_a_compressed_body_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType, match="gzip"):
        await read(b"pixels", "image/png", {"content-encoding": "gzip"})


@pytest.mark.parametrize("image", [b"a", b"--frontier inside\r\n--frontie", b"\r\n\r\n", b"", bytes(range(256)) * 500])
async def test_one_part_is_one_image_byte_for_byte(image: bytes) -> None:
    assert await read(multipart(image), MULTIPART) == Uploads((image,), several=False)


@pytest.mark.parametrize(
    "preamble",
    [
        b"\r\n",
        b"This is a message in several parts.\r\n",
        b"\r\n\r\nlines\r\n--frontierx\r\n -- --frontier\r\n",
        b"--frontie\r\n",
        b"unix\n",
        b"x" * (1024 * 1024 - 6) + b"\r\n",
        b"x\r\n--frontier" * 10_000 + b"x\r\n",
        b"--frontierx\r\n",
        b"--frontier--x\r\n--frontier-\r\n",
        b"--frontier x\r\n--frontier\tx\r\n--frontier\rx\r\n",
        b"--frontierx" + b"x" * (1024 * 1024) + b"\r\n",
    ],
)
async def test_what_stands_before_the_first_boundary_and_after_the_last_is_passed_over(preamble: bytes) -> None:
    image = b"--frontier inside"
    body = preamble + multipart(image) + b"The end.\r\n--frontier\r\nnothing"
    uploads = await read_uploads(request(body, MULTIPART, chunk=100_003), reservation(), 3, Deadlines(), 5)
    assert uploads == Uploads((image,), several=False)


@pytest.mark.parametrize("blanks", [b" ", b"\t", b" \t ", b" " * 1000])
@pytest.mark.parametrize("preamble", [b"", b"\r\n", b"For people.\r\n", b"--frontier x\r\n"])
async def test_blanks_behind_a_boundary_are_passed_over(preamble: bytes, blanks: bytes) -> None:
    padded = multipart(b"one\r\n--frontierx", b"two").replace(b"--frontier\r\n", b"--frontier" + blanks + b"\r\n")
    body = preamble + padded.replace(b"--frontier--", b"--frontier--" + blanks)
    assert (await read(body, MULTIPART)).images == (b"one\r\n--frontierx", b"two")
    assert (await read(body[:-2], MULTIPART)).images == (b"one\r\n--frontierx", b"two")


@pytest.mark.parametrize(
    "body",
    [
        b"--frontier" + b" " * 30_000_000 + multipart(b"one")[10:],
        multipart(b"one", b"two").replace(b"one\r\n--frontier", b"one\r\n--frontier" + b"\t" * 30_000_000),
        multipart(b"\r\n--frontierx" * 2_000_000),
    ],
)
async def test_more_of_them_than_a_mail_program_writes_are_refused_before_they_cost_much(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(InvalidRequest, match=r"more than 100000 lines begin .* 1000 blanks follow one"):
        await read_uploads(request(body, MULTIPART, chunk=1 << 20), reservation(), 3, Deadlines(), 60)
    assert time.process_time() - began < 1.5


def field(name: str, value: str, more: str = "") -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'.encode()


async def test_other_fields_are_no_images_and_keep_their_order() -> None:
    fields = field("top_k", "3") + field("note", "größe", '; filename="note"') + field("", "")
    body = fields + multipart(b"one", b"two").replace(b"--frontier--\r\n", field("after", " it ")) + b"--frontier--\r\n"
    found = await read(body, MULTIPART)
    assert found.images == (b"one", b"two")
    assert found.fields == (("top_k", "3"), ("note", "größe"), ("", ""), ("after", "it"))


async def test_a_field_of_any_length_is_passed_over_and_too_many_are_refused() -> None:
    long = await read(field("note", "x" * 300_000) + multipart(b"one"), MULTIPART)
    assert long.images == (b"one",)
    assert len(long.fields[0][1]) == 8193
    assert len((await read(field("a", "b") * 100 + multipart(b"one"), MULTIPART)).fields) == 100
    with pytest.raises(InvalidRequest, match="more than 100 fields"):
        await read(field("a", "b") * 101 + multipart(b"one"), MULTIPART)


async def test_a_picture_of_another_name_is_refused_rather_than_passed_over() -> None:
    with pytest.raises(InvalidRequest, match="a picture named 'other'; every picture must be named 'file'"):
        await read(multipart(b"one")[:-14] + multipart(b"two", name="other"), MULTIPART)
    with pytest.raises(InvalidRequest, match=r"no part named 'file' .*, only 'image', 'top_k'"):
        await read(field("image", "x") + field("top_k", "3") + b"--frontier--\r\n", MULTIPART)


async def test_several_parts_are_several_images_in_order() -> None:
    assert await read(multipart(b"one", b"two"), MULTIPART) == Uploads((b"one", b"two"), several=True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "stops before"),
        (b"no multipart at all", "broken"),
        (multipart(b"one")[:-4], "stops before"),
        (multipart(b"one")[:60], "stops before"),
        (multipart(), "no part|broken|stops"),
        (multipart(b"one", name="image"), "named 'image'"),
        (multipart(b"a", b"b", b"c", b"d"), "at most 3"),
    ],
)
async def test_a_broken_multipart_body_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        await read(body, MULTIPART)


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 5000])
async def test_a_multipart_header_without_a_usable_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidRequest, match=r"[Bb]oundary"):
        await read(multipart(b"one"), content_type)


async def test_json_holds_one_image() -> None:
    body = json.dumps({"image": b64(b"pixels")}).encode()
    assert await read(body, "application/json; charset=utf-8") == Uploads((b"pixels",), several=False)


async def test_a_mark_before_the_json_does_not_matter() -> None:
    body = json.dumps({"image": b64(b"pixels")}).encode("utf-8-sig")
    assert await read(body, "application/json") == Uploads((b"pixels",), several=False)


async def test_a_list_of_one_is_answered_as_a_list() -> None:
    body = json.dumps({"images": [b64(b"a")]}).encode()
    assert await read(body, "application/json") == Uploads((b"a",), several=True)


@pytest.mark.parametrize(
    "prefix", ["data:image/png;base64,", "DATA:image/svg+xml;charset=utf-8;BASE64,", "data:;base64,"]
)
async def test_a_data_uri_is_taken_as_well(prefix: str) -> None:
    body = json.dumps({"images": [prefix + b64(b"pixels"), b64(b"more")]}).encode()
    assert (await read(body, "application/json")).images == (b"pixels", b"more")


@pytest.mark.parametrize("text", ["a", "ab==cd==", "YW Jj", "YWJj\n", "_-8=", "é", "data:image/png,YWJj", "YWJjZA"])
async def test_bad_base64_fails_alone(text: str) -> None:
    with pytest.raises(ImageUndecodable, match="base64"):
        await read(json.dumps({"image": text}).encode(), "application/json")
    uploads = await read(json.dumps({"images": [b64(b"good"), text]}).encode(), "application/json")
    assert uploads.images[0] == b"good"
    assert isinstance(uploads.images[1], ImageUndecodable)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[]", "object"),
        (b"{}", "either"),
        (b'{"image": "YQ==", "images": ["YQ=="]}', "either"),
        (b'{"image": 3}', "image"),
        (b'{"images": []}', "images"),
        (b'{"images": ["YQ==", null]}', "images.1"),
        (b'{"picture": "YQ=="}', "picture"),
        (json.dumps({"images": ["YQ=="] * 4}).encode(), "at most 3"),
        (b"[" * 100_000, "JSON"),
    ],
)
async def test_json_of_another_shape_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        await read(body, "application/json")


async def test_a_body_that_never_ends_is_given_up() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    stuck = over(receive, {"content-type": "image/png", "content-length": "100"})
    with pytest.raises(HTTPException) as given_up:
        await read_uploads(stuck, reservation(), 1, Deadlines(), 0.01)
    assert given_up.value.status_code == 408


LARGE = 40 * 1024 * 1024
FIELD = b'--frontier\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
LARGE_BODIES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "base64": ("application/json", lambda: json.dumps({"image": "QUJD" * (LARGE // 4)}).encode()),
    "no base64": ("application/json", lambda: b'{"image":"' + b"!" * LARGE),
    "numbers": ("application/json", lambda: b'{"images":[' + b"1," * (LARGE // 2)),
    "members": ("application/json", lambda: b"{" + b'"a":1,' * (LARGE // 6)),
    "one part": (MULTIPART, lambda: multipart(bytes(LARGE))),
    "almost boundaries": (
        "multipart/form-data; boundary=b",
        lambda: b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + b"\r\n--" * (LARGE // 4),
    ),  # the slowest there is to look through for the boundary b
    "parts": (MULTIPART, lambda: multipart(b"") * 300_000),
    "preamble": ("multipart/form-data; boundary=b", lambda: b"\n--b" * (LARGE // 4)),
    "fields": (MULTIPART, lambda: FIELD * 300_000),
}


@pytest.mark.parametrize("name", LARGE_BODIES)
async def test_other_threads_run_while_a_large_body_is_taken_apart(name: str) -> None:
    content_type, make = LARGE_BODIES[name]
    body = make()
    # On a busy machine this thread can also wait for a core: the best of several tries counts.
    # A copy cannot be interrupted, and takes long on a slow machine, whose speed changes: so it is measured each time.
    excess = inf
    for _ in range(3):
        excess = min(excess, await _longest_wait(content_type, body) - max(0.05, 3 * _seconds_to_copy(body)))
        if excess < 0:
            break
    assert excess < 0


def _seconds_to_copy(body: bytes) -> float:
    began = time.process_time()
    b"".join([body[:1], body[1:]])
    return (time.process_time() - began) / 2


async def _longest_wait(content_type: str, body: bytes) -> float:
    """CPU seconds of the process while this thread, which is the event loop's, had to wait."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        seen = time.process_time()
        while True:
            await asyncio.sleep(0)
            longest, seen = max(longest, time.process_time() - seen), time.process_time()

    given = request(body, content_type, chunk=1024 * 1024)
    watching = asyncio.create_task(watch())
    with contextlib.suppress(InvalidRequest):
        await read_uploads(given, reservation(), 3, Deadlines(), 60)
    watching.cancel()
    return longest


async def test_base64_with_padding_in_the_middle_is_refused_wherever_it_is() -> None:
    piece = "QUJD" * (256 * 1024)  # of the length in which it is taken apart
    for text in (piece[:-1] + "=" + piece, piece[:-2] + "==" + piece, "QUI=" + piece):
        with pytest.raises(ImageUndecodable, match="base64"):
            await read_uploads(
                request(json.dumps({"image": text}).encode(), "application/json", chunk=9999),
                reservation(),
                3,
                Deadlines(),
                60,
            )


async def test_long_base64_is_decoded_whole() -> None:
    image = bytes(range(256)) * 12_345
    for prefix in ("", "data:image/png;base64,"):
        body = json.dumps({"image": prefix + b64(image)}).encode()
        uploads = await read_uploads(request(body, "application/json", chunk=9999), reservation(), 3, Deadlines(), 60)
        assert uploads == Uploads((image,), several=False)


async def test_json_of_more_values_than_images_can_be_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(InvalidRequest, match="more than 6 commas: too many for 3 images"):
        await read(b'{"images":[' + b"1," * 1000 + b"1]}", "application/json")
    uri = f"data:image/png;base64,{b64(b'pixels')}"
    assert len((await read(json.dumps({"images": [uri] * 3}).encode(), "application/json")).images) == 3
