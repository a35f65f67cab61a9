from pathlib import Path

from PIL import Image

from emo.data.pictures import open_rgb


def test_a_photo_is_read_as_the_server_shows_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGBA", (30, 20)).save(tmp_path / "clear.png")
    assert open_rgb(tmp_path / "turned.jpg").shape == (30, 20, 3)
    assert open_rgb(tmp_path / "clear.png").min() == 255
