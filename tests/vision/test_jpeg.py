"""What a JPEG says about itself, and its pixels, which are those of Pillow's own reader."""

import io
import re
import struct
import time
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL.JpegImagePlugin import JpegImageFile

from emo_serve.errors import ImageTooLarge, ImageUndecodable, UnsupportedMediaType
from emo_serve.vision.image import ImageLimits, decode
from emo_serve.vision.jpeg import MAX_JPEG_SEGMENTS, decode_jpeg, read_jpeg
from tests.vision.files import (
    APP1,
    EOI,
    SOS,
    cat,
    encoded,
    exif,
    jpeg_segment,
    lossless_jpeg,
    photo,
    with_scans,
    with_segments,
)

BASELINE = encoded(photo(), "JPEG")
PROGRESSIVE = encoded(photo(), "JPEG", progressive=True)
THUMBNAIL = jpeg_segment(APP1, exif(1) + PROGRESSIVE)
CAT = PillowImage.fromarray(cat())


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "restart_marker_blocks": 3}])
@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_the_pixels_are_those_of_pillows_reader(mode: str, options: dict[str, object], scale: int) -> None:
    data = encoded(CAT.convert(mode), "JPEG", **options)
    header = read_jpeg(data)
    assert (header.width, header.height, header.mode) == (*CAT.size, mode)
    with JpegImageFile(io.BytesIO(data)) as expected:
        expected.draft(None, (CAT.width // scale, CAT.height // scale))
        decoded = decode_jpeg(data, header, scale)
        assert decoded.size == expected.size
        assert np.array_equal(np.asarray(decoded), np.asarray(expected))


@pytest.mark.parametrize("colours", [0, 1, 2])
def test_four_components_are_understood_however_adobe_has_coded_them(colours: int) -> None:
    adobe = jpeg_segment(0xEE, b"Adobe\0d\0\0\0\0" + bytes([colours]))
    plain = encoded(CAT.convert("CMYK"), "JPEG")
    start = plain.index(b"\xff\xee")
    data = plain[:start] + adobe + plain[start + len(adobe) :]
    with JpegImageFile(io.BytesIO(data)) as expected:
        assert np.array_equal(np.asarray(decode(data, ImageLimits()).pixels), np.asarray(expected.convert("RGB")))


def test_scans_are_counted() -> None:
    assert read_jpeg(BASELINE).scans == 1
    assert read_jpeg(PROGRESSIVE).scans == PROGRESSIVE.count(SOS) > 5
    assert read_jpeg(with_scans(PROGRESSIVE, 77)).scans == 77


def test_scans_of_thumbnails_and_of_what_follows_the_picture_do_not_count() -> None:
    assert read_jpeg(with_segments(BASELINE, THUMBNAIL) + SOS * 50 + PROGRESSIVE).scans == 1


def test_a_sequential_picture_has_one_scan_that_is_decoded_and_what_follows_costs_nothing() -> None:
    many = with_scans(BASELINE, 200)
    assert many.count(SOS) == 200
    assert read_jpeg(many).scans == 1
    limits = ImageLimits(max_bytes=len(many))
    decode(BASELINE, limits)
    once, repeated = (min(_cpu_seconds(data, limits) for _ in range(5)) for data in (BASELINE, many))
    assert repeated < 10 * once


def _cpu_seconds(data: bytes, limits: ImageLimits) -> float:
    began = time.process_time()
    with suppress(ImageUndecodable):
        decode(data, limits)
    return time.process_time() - began


def test_the_scans_of_a_sequential_picture_whose_first_holds_one_component_are_counted() -> None:
    one_component = jpeg_segment(0xDA, bytes([1, 1, 0, 0, 63, 0]))
    start = BASELINE.index(SOS)
    assert read_jpeg(BASELINE[:start] + one_component * 7 + EOI).scans == 7


@pytest.mark.parametrize(
    "trick",
    [
        EOI,  # the walk goes on behind an end that comes before any scan
        b"\xff\xe5\0\0",  # and the decoder too behind a length that is too small
        b"\xff\xff\xff",
        b"\xff\0junk",
        b"\xff\xd0",
    ],
)
def test_scans_cannot_be_hidden(trick: bytes) -> None:
    assert read_jpeg(with_segments(PROGRESSIVE, trick)).scans == PROGRESSIVE.count(SOS)


def test_a_broken_block_of_metadata_does_not_fail_a_good_picture() -> None:
    broken = (jpeg_segment(0xE2, b"ICC_PROFILE\0" + bytes(9)), jpeg_segment(0xE2, b"MPF\0II"), THUMBNAIL)
    picture = decode(with_segments(BASELINE, *broken), ImageLimits()).pixels
    assert np.array_equal(np.asarray(picture), np.asarray(decode(BASELINE, ImageLimits()).pixels))


def test_exif_in_several_segments_is_joined() -> None:
    block = exif(6)
    parts = (jpeg_segment(APP1, block[:20]), jpeg_segment(APP1, b"Exif\0\0" + block[20:]))
    assert read_jpeg(with_segments(BASELINE, *parts)).exif == block.removeprefix(b"Exif\0\0")


def test_only_frames_of_the_usual_kind_can_be_decoded_at_a_fraction() -> None:
    assert read_jpeg(BASELINE).is_scalable
    assert read_jpeg(PROGRESSIVE).is_scalable
    assert read_jpeg(BASELINE.replace(b"\xff\xc0", b"\xff\xc1", 1)).is_scalable
    assert not read_jpeg(lossless_jpeg(8, 8)).is_scalable


def test_arithmetic_coding_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType, match="arithmetic coding"):
        read_jpeg(BASELINE.replace(b"\xff\xc0", b"\xff\xc9", 1))


def frame(bits: int = 8, height: int = 48, width: int = 64, components: int = 3) -> bytes:
    return jpeg_segment(0xC0, struct.pack(">BHHB", bits, height, width, components) + bytes(3 * components))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (BASELINE.replace(b"\xff\xc0", b"\xff\xe5", 1), "it has no frame"),
        (with_segments(BASELINE, jpeg_segment(0xC0, b"\x08\0\x30\0\x40")), "its frame is cut off"),
        (with_segments(BASELINE, frame(height=0)), "its frame gives no size"),
        (with_segments(BASELINE, frame(width=0)), "its frame gives no size"),
        (with_segments(BASELINE, frame()), "cannot decode image data"),  # two frames
        (BASELINE[:-40], "not enough image data"),
        (
            BASELINE[: BASELINE.index(SOS)] + SOS + b"\0\2",
            "some of its scans are not there",
        ),  # a scan of nothing, at the end
    ],
)
def test_what_cannot_be_decoded_is_refused_with_the_reason(data: bytes, problem: str) -> None:
    with pytest.raises(ImageUndecodable, match=rf"truncated or broken \({problem}\)"):
        decode(data, ImageLimits())


@pytest.mark.parametrize(("bits", "components"), [(12, 3), (8, 2), (16, 1)])
def test_another_depth_or_number_of_components_is_not_supported_which_is_said(bits: int, components: int) -> None:
    with pytest.raises(
        UnsupportedMediaType, match=f"{bits} bits a value and {components} components.*allowed are 8 bits"
    ):
        decode(with_segments(BASELINE, frame(bits=bits, components=components)), ImageLimits())


def test_a_frame_cannot_make_the_picture_larger_than_what_is_coded() -> None:
    """What lies beside the pixels would be whatever was in memory before."""
    for width in (63, 65, 640):
        data = with_segments(BASELINE, jpeg_segment(0xE5, frame(width=width)), frame(width=width))
        with pytest.raises(ImageUndecodable):
            decode(data, ImageLimits())


def test_a_jpeg_of_countless_segments_is_refused() -> None:
    with pytest.raises(ImageTooLarge, match="segments"):
        read_jpeg(with_segments(BASELINE, b"\xff\xe5\0\2" * MAX_JPEG_SEGMENTS))


WITHOUT_END = {
    "baseline": {},
    "fine": {"quality": 100, "subsampling": 0},
    "progressive": {"progressive": True},
    "with markers": {"restart_marker_rows": 1},
    "with many markers": {"restart_marker_blocks": 1},
}


@pytest.mark.parametrize("options", WITHOUT_END.values(), ids=WITHOUT_END)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("rest", [b"", b"\xff", bytes(7)], ids=["nothing", "half an end", "zeros"])
def test_a_jpeg_that_lacks_only_its_end_is_the_same_picture(options: dict[str, object], mode: str, rest: bytes) -> None:
    whole = encoded(CAT.convert(mode), "JPEG", **options)
    assert whole.endswith(EOI)
    picture = decode(whole[:-2] + rest, ImageLimits(), least_side=40)
    assert np.array_equal(np.asarray(picture.pixels), np.asarray(decode(whole, ImageLimits()).pixels))


@pytest.mark.parametrize("options", WITHOUT_END.values(), ids=WITHOUT_END)
def test_a_jpeg_that_lacks_more_than_its_end_is_refused(options: dict[str, object]) -> None:
    whole = encoded(CAT, "JPEG", **options)
    scans = [place.start() for place in re.finditer(SOS, whole)]
    markers = [place.start() for place in re.finditer(rb"\xff[\xd0-\xd7]", whole)][::20]
    for end in (*range(scans[0] + 20, len(whole) - 8, len(whole) // 25), *scans, *markers, len(whole) - 8):
        with pytest.raises(ImageUndecodable):
            decode(whole[:end], ImageLimits())


@pytest.mark.parametrize("options", WITHOUT_END.values(), ids=WITHOUT_END)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("least_side", [None, 40])
def test_a_jpeg_whose_end_comes_too_early_is_refused(
    options: dict[str, object], mode: str, least_side: int | None
) -> None:
    whole = encoded(CAT.convert(mode), "JPEG", **options)
    first, *others = [place.start() for place in re.finditer(SOS, whole)]
    last = others[0] if others else len(whole)
    for end in range(first + 20, last - (last - first) // 9, (last - first) // 9):
        with pytest.raises(ImageUndecodable):
            decode(whole[:end] + EOI + whole, ImageLimits(), least_side)


@pytest.mark.parametrize("options", WITHOUT_END.values(), ids=WITHOUT_END)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_grey_picture_is_not_taken_for_one_that_is_not_there(options: dict[str, object], mode: str) -> None:
    grey = PillowImage.new("RGB", (100, 60), (128, 128, 128)).convert(mode)
    assert decode(encoded(grey, "JPEG", **options) + b"behind", ImageLimits()).size.width == 100


def test_a_jpeg_whose_last_scans_are_lacking_is_refused() -> None:
    ends = [place.start() for place in re.finditer(rb"\xff[\xda\xc4]", PROGRESSIVE)][3:]
    assert len(ends) > 8
    for end in ends:
        with pytest.raises(ImageUndecodable, match="some of its scans are not there"):
            decode(PROGRESSIVE[:end], ImageLimits())


def test_a_jpeg_without_its_end_counts_twice_for_it_is_decoded_twice() -> None:
    assert read_jpeg(BASELINE[:-2]).scans == 2
    assert read_jpeg(PROGRESSIVE[:-2]).scans == 2 * PROGRESSIVE.count(SOS)
