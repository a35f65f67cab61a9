"""Pictures of other colour spaces are answered as if they were sRGB."""

import io
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageCms

from emo_serve.manifest import Preprocessing
from emo_serve.vision.colours import MAX_PROFILE_BYTES, needed_profile
from emo_serve.vision.image import ImageLimits, decode
from emo_serve.vision.preprocess import preprocess
from tests.vision.files import STORED_AS, cat, encoded, jpeg_segment, png_chunk, with_chunks, with_segments
from tests.vision.pixels import mean_difference, shown
from tests.vision.profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    SRGB,
    gamma_curve,
    grey_profile,
    ink_profile,
    profile,
    rgb_profile,
    srgb_curve,
    srgb_table,
)
from tests.vision.test_bmp import bmp32
from tests.vision.tiffs import tiff_of

P3 = rgb_profile(DISPLAY_P3, srgb_curve())
ADOBE = rgb_profile(ADOBE_RGB, gamma_curve(2.2))
COLOURS = PillowImage.fromarray(np.random.default_rng(3).integers(0, 256, (12, 16, 3), np.uint8)).resize((64, 48))
INKS = PillowImage.fromarray(np.random.default_rng(4).integers(0, 256, (12, 16, 4), np.uint8), "CMYK").resize((64, 48))


def converted(image: PillowImage.Image, icc: bytes) -> NDArray[np.uint8]:
    """The conversion of the whole picture by ImageCms."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    done = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert done is not None
    return np.asarray(done)


@pytest.mark.parametrize("icc", [P3, ADOBE], ids=["Display P3", "Adobe RGB"])
@pytest.mark.parametrize(
    ("image_format", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 100, "subsampling": 0}, 3),
        ("JPEG", {"quality": 100, "subsampling": 0, "progressive": True}, 3),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}, 3),
        ("HEIC", {"quality": -1, "chroma": 444, "matrix_coefficients": 0}, 3),
    ],
)
def test_a_profile_is_obeyed_in_every_format(
    icc: bytes, image_format: str, options: dict[str, object], tolerance: int
) -> None:
    if image_format == "HEIC":
        COLOURS.info["icc_profile"] = icc
        data = encoded(COLOURS, image_format, **options)
        del COLOURS.info["icc_profile"]
    else:
        data = encoded(COLOURS, image_format, icc_profile=icc, **options)
    wanted = converted(COLOURS, icc)
    assert mean_difference(wanted, np.asarray(COLOURS)) > 4
    assert mean_difference(shown(data), wanted) <= tolerance


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"gAMA", (100_000).to_bytes(4, "big")),  # linear light
        png_chunk(b"cHRM", np.array([31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000], ">u4").tobytes()),
        png_chunk(b"cICP", bytes([12, 13, 0, 1])),  # Display P3
        png_chunk(b"cICP", bytes([9, 16, 0, 1])),  # HDR: BT.2020 with the curve of PQ
    ],
    ids=["gamma", "chromaticities", "Display P3", "HDR"],
)
def test_colours_that_a_png_states_without_a_profile_are_taken_for_srgb_as_documented(chunk: bytes) -> None:
    plain = encoded(COLOURS, "PNG")
    assert mean_difference(shown(with_chunks(plain, chunk)), np.asarray(COLOURS)) == 0
    both = with_chunks(encoded(COLOURS, "PNG", icc_profile=P3), chunk)
    assert mean_difference(shown(both), converted(COLOURS, P3)) == 0


def test_the_profile_of_a_bmp_of_version_five_is_obeyed() -> None:
    plain = bmp32(255)
    header = bytearray(plain[14:138])
    header[56:60] = b"DEBM"
    header[112:120] = (124).to_bytes(4, "little") + len(P3).to_bytes(4, "little")
    start = (138 + len(P3)).to_bytes(4, "little")
    data = plain[:10] + start + bytes(header) + P3 + plain[138:]
    np.testing.assert_array_equal(shown(data), converted(PillowImage.fromarray(shown(plain)), P3))


@pytest.mark.parametrize("kind", ["palette", "transparent", "deep", "deep grey"])
def test_a_profile_is_obeyed_in_every_mode(kind: str) -> None:
    if kind == "palette":
        source = COLOURS.quantize(16)
        data, wanted = encoded(source, "PNG", icc_profile=P3), converted(source.convert("RGB"), P3)
    elif kind == "transparent":
        source = COLOURS.copy()
        source.putalpha(0)
        data, wanted = encoded(source, "PNG", icc_profile=P3), np.full((48, 64, 3), 255, np.uint8)
    else:
        levels = np.asarray(COLOURS) if kind == "deep" else np.asarray(COLOURS)[..., :1]
        deep = np.asarray(levels, np.uint16) * 257
        icc = P3 if kind == "deep" else grey_profile(1.8)
        image = PillowImage.fromarray(levels if kind == "deep" else levels[..., 0])
        data = with_tiff_profile(tiff_of(deep, 2 if kind == "deep" else 1, is_planar=kind == "deep"), icc)
        wanted = converted(image, icc)
    np.testing.assert_array_equal(shown(data), wanted)


def with_tiff_profile(tiff: bytes, icc: bytes) -> bytes:
    """The TIFF with a directory that has one entry more, at its end."""
    count = int.from_bytes(tiff[8:10], "little")
    directory = tiff[10 : 10 + 12 * count]
    start = len(tiff) + len(icc)
    entry = (34675).to_bytes(2, "little") + (7).to_bytes(2, "little") + len(icc).to_bytes(4, "little")
    entry += len(tiff).to_bytes(4, "little")
    entries = (count + 1).to_bytes(2, "little") + directory + entry + bytes(4)
    return tiff[:4] + start.to_bytes(4, "little") + tiff[8:] + icc + entries


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "TIFF"])
def test_grey_with_a_profile_of_its_own(image_format: str) -> None:
    icc = grey_profile(1.8)
    source = COLOURS.convert("L")
    image = shown(encoded(source, image_format, icc_profile=icc))
    assert mean_difference(image, converted(source, icc)) < (2 if image_format == "JPEG" else 0.01)
    assert mean_difference(image, np.asarray(source.convert("RGB"))) > 5


def test_grey_with_transparency_and_a_profile_of_its_own() -> None:
    icc = grey_profile(1.8)
    source = COLOURS.convert("LA")
    np.testing.assert_array_equal(shown(encoded(source, "PNG", icc_profile=icc)), converted(COLOURS.convert("L"), icc))


@pytest.mark.parametrize("colours", [0, 2])
def test_the_inks_of_a_jpeg_are_what_their_profile_says(colours: int) -> None:
    icc = ink_profile()
    plain = encoded(INKS, "JPEG", quality=100, subsampling=0, icc_profile=icc)
    start = plain.index(b"\xff\xee")
    adobe = jpeg_segment(0xEE, b"Adobe\0d\0\0\0\0" + bytes([colours]))
    data = plain[:start] + adobe + plain[start + len(adobe) :]
    with PillowImage.open(io.BytesIO(data)) as inks:
        np.testing.assert_array_equal(shown(data), converted(inks, icc))


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_the_inks_of_a_tiff_are_what_their_profile_says(compression: str | None) -> None:
    icc = ink_profile()
    data = encoded(INKS, "TIFF", icc_profile=icc, compression=compression)
    np.testing.assert_array_equal(shown(data), converted(INKS, icc))


def test_a_profile_in_many_segments_is_put_together_by_their_numbers() -> None:
    plain = encoded(COLOURS, "JPEG")
    parts = [jpeg_segment(0xE2, b"ICC_PROFILE\0" + bytes([n + 1, 4]) + P3[n * 100 : n * 100 + 100]) for n in range(4)]
    data = with_segments(plain, *reversed(parts))
    np.testing.assert_array_equal(shown(data), shown(encoded(COLOURS, "JPEG", icc_profile=P3)))


@pytest.mark.parametrize(
    "icc",
    [
        b"",
        b"broken",
        bytes(500),
        P3[:200],
        P3[:128] + b"\xff\xff\xff\xff" + P3[132:],
        P3.replace(b"acsp", b"oops"),
        P3[:8] + b"\xff" + P3[9:],
        P3.replace(b"mntr", b"link"),
        P3.replace(b"mntr", b"abst"),
        P3.replace(b"rXYZ", b"zXYZ"),
        P3.replace(b"XYZ \0\0\0\0", b"zzzz\0\0\0\0"),
        P3.replace(b"para", b"mpet"),
        ink_profile(),
        grey_profile(1.8),
        P3 + bytes(MAX_PROFILE_BYTES),
    ],
)
def test_a_profile_that_is_broken_or_of_something_else_changes_nothing(icc: bytes) -> None:
    plain = encoded(COLOURS, "PNG")
    data = with_chunks(plain, png_chunk(b"iCCP", b"p\0\0" + zlib.compress(icc)))
    np.testing.assert_array_equal(shown(data), np.asarray(COLOURS))
    if len(icc) < 60_000:  # of one segment
        jpeg = encoded(COLOURS, "JPEG")
        data = with_segments(jpeg, jpeg_segment(0xE2, b"ICC_PROFILE\0\1\1" + icc))
        np.testing.assert_array_equal(shown(data), shown(jpeg))


def test_inks_whose_profile_is_broken_are_shown_as_without_one() -> None:
    broken = ink_profile().replace(b"mft1", b"zzzz")
    assert needed_profile(broken, "CMYK")
    np.testing.assert_array_equal(shown(encoded(INKS, "TIFF", icc_profile=broken)), shown(encoded(INKS, "TIFF")))


@pytest.mark.parametrize("curve", [srgb_curve(), srgb_table()], ids=["curve", "table"])
def test_the_profile_of_srgb_is_recognised_by_its_numbers(curve: bytes) -> None:
    assert needed_profile(rgb_profile(SRGB, curve), "RGB") == b""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert needed_profile(made, "RGB") == b""


@pytest.mark.parametrize("curve", [gamma_curve(2.2), gamma_curve(1.8), gamma_curve(1.0), b"curv\0\0\0\0\0\0\0\0"])
def test_the_primaries_of_srgb_with_another_curve_are_not_srgb(curve: bytes) -> None:
    assert needed_profile(rgb_profile(SRGB, curve), "RGB")


def test_a_profile_with_a_program_in_it_is_passed_over() -> None:
    assert (
        needed_profile(profile(b"RGB ", {b"D2B0": b"mpet" + bytes(100), b"A2B0": b"mft1" + bytes(100)}), "RGB") == b""
    )


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("icc", [P3, ink_profile()], ids=["P3", "inks"])
def test_the_tensor_is_nearly_that_of_the_whole_picture_converted(orientation: int, icc: bytes) -> None:
    source = PillowImage.fromarray(cat())
    if icc != P3:
        source = source.convert("CMYK")
    wanted = PillowImage.fromarray(converted(source, icc))
    turn = STORED_AS[orientation]
    metadata = PillowImage.Exif()
    metadata[0x0112] = orientation
    stored = source if turn is None else source.transpose(turn)
    rule = Preprocessing.model_validate({
        "mode": "crop", "height": 96, "width": 96, "resize": 96, "interpolation": "bicubic",
        "mean": (0, 0, 0), "std": (1, 1, 1),
    })  # fmt: skip
    with_profile = encoded(stored, "TIFF", icc_profile=icc, exif=metadata)
    tensor, geometry = preprocess(decode(with_profile, ImageLimits()), rule)
    expected, same = preprocess(decode(encoded(wanted, "PNG"), ImageLimits()), rule)
    assert geometry == same
    assert np.abs(tensor.astype(int) - expected).mean() < 1.5
    plain, _ = preprocess(decode(encoded(source, "TIFF"), ImageLimits()), rule)
    assert np.abs(tensor.astype(int) - plain).mean() > 3
