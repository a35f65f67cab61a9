"""AVIF and HEIC: what is shown, and what is refused before a decoder sees it."""

import io
import struct

import numpy as np
import pillow_heif
import pytest
from PIL import Image as PillowImage

from emo_serve.errors import ImageTooLarge, ImageUndecodable, UnsupportedMediaType
from emo_serve.vision.bitstreams import read_av1, read_hevc
from emo_serve.vision.heif import read_heif_size
from emo_serve.vision.heif_items import MAX_HEIF_ITEMS, read_items
from emo_serve.vision.image import ImageLimits, decode
from tests.vision.files import STORED_AS, box, cat, encoded, heif, photo
from tests.vision.pixels import mean_difference, shown

LIMITS = ImageLimits()
BOTH = ["AVIF", "HEIC"]
CAT = PillowImage.fromarray(cat())


def coded(image: PillowImage.Image, name: str) -> tuple[bytes, bytes]:
    """The code and the configuration of the picture in a file that a program wrote."""
    items = read_items(encoded(image, name))
    item = items.items[items.primary]
    return item.data, item.configuration


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_photo_is_shown(name: str, mode: str) -> None:
    source = CAT.convert(mode)
    assert mean_difference(shown(encoded(source, name, quality=90)), np.asarray(source.convert("RGB"))) < 3


@pytest.mark.parametrize("name", BOTH)
def test_transparent_parts_are_white(name: str) -> None:
    source = CAT.copy()
    alpha = np.full((300, 451), 255, np.uint8)
    alpha[:150] = 0
    source.putalpha(PillowImage.fromarray(alpha))
    image = shown(encoded(source, name, quality=90))
    assert image[:140].min() > 250
    assert mean_difference(image[160:], cat()[160:]) < 3


@pytest.mark.parametrize("orientation", STORED_AS)
def test_every_orientation_of_an_avif_is_applied_once(orientation: int) -> None:
    turn = STORED_AS[orientation]
    metadata = PillowImage.Exif()
    metadata[0x0112] = orientation
    data = encoded(photo() if turn is None else photo().transpose(turn), "AVIF", exif=metadata)
    assert mean_difference(shown(data), np.asarray(photo())) < 3


@pytest.mark.parametrize("orientation", STORED_AS)
def test_every_orientation_of_a_heic_is_applied_once(orientation: int) -> None:
    turn = STORED_AS[orientation]
    stored = photo() if turn is None else photo().transpose(turn)
    metadata = PillowImage.Exif()
    metadata[0x0112] = orientation
    data = encoded(stored, "HEIC", exif=metadata.tobytes())  # in the container too, and both stay
    assert (b"irot" in data or b"imir" in data) == (orientation > 1)
    assert mean_difference(shown(data), np.asarray(photo())) < 3


@pytest.mark.parametrize("name", BOTH)
def test_a_sequence_gives_its_first_picture(name: str) -> None:
    frames = [PillowImage.new("RGB", (64, 48), colour) for colour in ("red", "green", "blue")]
    if name == "AVIF":
        data = encoded(frames[0], name, save_all=True, append_images=frames[1:])
        assert data[8:12] == b"avis"
    else:
        pictures = pillow_heif.HeifFile()  # type: ignore[no-untyped-call]
        for frame in frames:
            pictures.add_from_pillow(frame)
        buffer = io.BytesIO()
        pictures.save(buffer)
        data = buffer.getvalue()
    assert mean_difference(shown(data), np.asarray(frames[0])) < 3


def test_a_heic_of_tiles_as_phones_write_it() -> None:
    source = CAT.resize((1000, 700))
    buffer = io.BytesIO()
    pillow_heif.from_pillow(source).save(buffer, quality=90, tile_size=256)
    assert buffer.getvalue().count(b"hvc1") > 10
    assert mean_difference(shown(buffer.getvalue()), np.asarray(source)) < 3


def test_ten_bits_are_read() -> None:
    deep = np.asarray(photo()).astype(np.uint16) * 257
    buffer = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (64, 48), deep.tobytes()).save(buffer, quality=90)
    assert mean_difference(shown(buffer.getvalue()), np.asarray(photo())) < 3


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("size", [(64, 48), (1, 1), (129, 77), (1000, 40)])
def test_the_headers_of_the_code_say_what_was_coded(name: str, size: tuple[int, int]) -> None:
    code, configuration = coded(photo(*size), name)
    (width, height), pictures = read_av1(code) if name == "AVIF" else read_hevc(configuration, code)
    assert 0 <= width - size[0] < 64
    assert 0 <= height - size[1] < 64
    assert pictures == 1


@pytest.mark.parametrize(("name", "brand", "kind"), [("AVIF", b"avif", b"av01"), ("HEIC", b"heic", b"hvc1")])
def test_a_file_made_box_by_box_is_decoded(name: str, brand: bytes, kind: bytes) -> None:
    code, configuration = coded(photo(), name)
    size = (64, 64 if name == "HEIC" else 48)
    assert shown(heif(brand, {1: (kind, code, size, configuration)})).shape[1:] == (64, 3)


@pytest.mark.parametrize(("name", "brand", "kind"), [("AVIF", b"avif", b"av01"), ("HEIC", b"heic", b"hvc1")])
def test_a_picture_that_is_larger_than_it_says_is_refused(name: str, brand: bytes, kind: bytes) -> None:
    code, configuration = coded(PillowImage.new("RGB", (1500, 1000)), name)
    data = heif(brand, {1: (kind, code, (64, 48), configuration)})
    assert len(data) < 20_000
    with pytest.raises(ImageUndecodable, match=r"says 64x48 pixels and codes 150[0-9]x100[0-9]"):
        decode(data, LIMITS)


@pytest.mark.parametrize(("name", "brand", "kind"), [("AVIF", b"avif", b"av01"), ("HEIC", b"heic", b"hvc1")])
def test_pictures_that_are_decoded_and_never_shown_count(name: str, brand: bytes, kind: bytes) -> None:
    code, configuration = coded(PillowImage.new("RGB", (1000, 1000)), name)
    data = heif(brand, {1: (kind, code * 30, (1000, 1000), configuration)})
    with pytest.raises(ImageTooLarge, match=r"1000x1000 pixels codes 30[0-9]{6} pixels; allowed are 4000000"):
        decode(data, LIMITS)


@pytest.mark.parametrize(("name", "brand", "kind"), [("AVIF", b"avif", b"av01"), ("HEIC", b"heic", b"hvc1")])
def test_one_tile_that_is_used_a_thousand_times_counts_as_often(name: str, brand: bytes, kind: bytes) -> None:
    code, configuration = coded(PillowImage.new("RGB", (512, 512)), name)
    grid = b"\0\0" + bytes([0, 199]) + struct.pack(">HH", 640, 480)
    tiles = b"".join(struct.pack(">H", 2) for _ in range(200))
    references = box(b"iref", bytes(4) + box(b"dimg", struct.pack(">HH", 1, 200) + tiles))
    items = {1: (b"grid", grid, (640, 480), b""), 2: (kind, code, (512, 512), configuration)}
    with pytest.raises(ImageTooLarge, match="640x480 pixels codes 52428800 pixels"):
        decode(heif(brand, items, references), LIMITS)


@pytest.mark.parametrize("name", BOTH)
def test_more_than_a_byte_for_a_pixel_is_refused(name: str) -> None:
    data = encoded(PillowImage.new("RGB", (1000, 1100)), name) + bytes(1_100_000)
    with pytest.raises(ImageTooLarge, match="bytes; allowed are 1100000 at this size"):
        decode(data, LIMITS)
    shown(data[:1_100_000])


@pytest.mark.parametrize("name", BOTH)
def test_the_pixel_limit_is_applied_before_decoding(name: str) -> None:
    data = encoded(PillowImage.new("RGB", (64, 64)), name)
    data = data.replace(struct.pack(">II", 64, 64), struct.pack(">II", 60_000, 60_000))
    with pytest.raises(ImageTooLarge, match="60000x60000 = 3600000000 pixels"):
        decode(data, LIMITS)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (heif(b"avif", {1: (b"hvc1", b"", (64, 48), b"")}), "coded as 'hvc1'"),
        (heif(b"heic", {1: (b"av01", b"", (64, 48), b"")}), "coded as 'av01'"),
        (heif(b"heic", {1: (b"iovl", b"", (64, 48), b"")}), "coded as 'iovl'"),
        (box(b"ftyp", b"avis\0\0\0\0avis") + box(b"moov", b""), "no still picture"),
    ],
)
def test_what_is_in_a_heif_file_and_not_supported_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=f"{reason}.*not supported"):
        decode(data, LIMITS)


def test_countless_items_are_refused() -> None:
    brand = box(b"ftyp", b"avif\0\0\0\0avif")
    places = box(b"iloc", b"\1\0\0\0\0\0" + struct.pack(">H", 60_000) + bytes(8) * 60_000)
    for content in (places, box(b"iinf", b"\1\0\0\0" + struct.pack(">I", 10**9)), box(b"free", b"") * 50_000):
        with pytest.raises(ImageTooLarge, match=r"allowed are|more than"):
            read_heif_size(brand + box(b"meta", bytes(4) + content), "AVIF")
    assert MAX_HEIF_ITEMS < 10_000


@pytest.mark.parametrize("name", BOTH)
def test_boxes_that_end_too_soon_are_refused(name: str) -> None:
    data = encoded(photo(), name)
    for end in range(24, len(data), 11):
        with pytest.raises((ImageUndecodable, UnsupportedMediaType)):
            decode(data[:end], LIMITS)
