"""Images and fields of multipart/form-data."""

import time

import pytest

from emo_serve.api.http.uploads import Uploads
from emo_serve.errors import InvalidRequest
from tests.api.uploading import MULTIPART, field, multipart, read, read_all, request

pytestmark = pytest.mark.anyio


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
    uploads = await read_all(request(body, MULTIPART, chunk=100_003))
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
        await read_all(request(body, MULTIPART, chunk=1 << 20))
    assert time.process_time() - began < 1.5


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
