"""Frames of a video, decoded by the user's own ffmpeg."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp"})
"""Suffixes, in lower case."""
_BMP_HEAD = 6  # "BM" and the size of the file


def frames(path: Path) -> Iterator[bytes]:
    """Each frame as an uncompressed BMP file, in order; one at a time is in memory.

    Raises ValueError, which names the file, without ffmpeg or if that fails.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        msg = f"{path}: is a video, and ffmpeg, which would read it, is not installed"
        raise ValueError(msg)
    output = ["-f", "image2pipe", "-c:v", "bmp", "-pix_fmt", "bgr24", "-"]
    command = [program, "-v", "error", "-nostdin", "-i", path.absolute().as_uri(), *output]
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, tempfile.TemporaryFile() as complaints:  # noqa: PTH123  # a descriptor
        ffmpeg = subprocess.Popen(command, stdout=writing, stderr=complaints)  # noqa: S603  no shell
        os.close(writing)
        try:
            while len(head := stream.read(_BMP_HEAD)) == _BMP_HEAD:
                yield head + stream.read(int.from_bytes(head[2:], "little") - _BMP_HEAD)
        except GeneratorExit:
            ffmpeg.kill()
            raise
        finally:
            status = ffmpeg.wait()
        complaints.seek(0)
        fault = complaints.read().decode(errors="replace").strip()
    if status:
        msg = f"{path}: ffmpeg cannot read it: {fault.splitlines()[-1] if fault else f'exit status {status}'}"
        raise ValueError(msg)
