"""Pictures of Label Studio's tasks: from one host, or from one folder, and from nowhere else."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

LOCAL_FILES = "/data/local-files/"
MOST_BYTES = 64 * 1024 * 1024
SECONDS = 30.0


@dataclass(frozen=True)
class Pictures:
    """Sources of pictures: an address such as http://labels:8080 with its token, a folder, or both."""

    host: str = ""
    token: str = ""
    folder: Path | None = None

    def read(self, address: str) -> bytes:
        """The file at an address, as a task has it; raises ValueError for one that is not allowed, OSError."""
        parts = urlsplit(address)
        if self.folder and parts.path == LOCAL_FILES and not parts.netloc:
            return self._file(self.folder, parse_qs(parts.query).get("d", [""])[0])
        url = urljoin(self.host, address)
        if not self.host or urlsplit(url)[:2] != urlsplit(self.host)[:2]:
            msg = f"{address}: pictures are allowed from {self.host or 'no host'} and {self.folder or 'no folder'}"
            raise ValueError(msg)
        return self._fetched(url)

    @staticmethod
    def _file(folder: Path, name: str) -> bytes:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            msg = f"{name}: pictures are allowed from {folder}"
            raise ValueError(msg)
        return path.read_bytes()

    def _fetched(self, url: str) -> bytes:
        """Redirects are not followed, as they could lead to other hosts."""
        headers = {"Authorization": f"Token {self.token}"} if self.token else {}
        content = bytearray()
        try:
            with httpx.stream("GET", url, headers=headers, timeout=SECONDS) as response:
                if response.status_code != httpx.codes.OK:
                    msg = f"{url}: {response.status_code}"
                    raise OSError(msg)
                for piece in response.iter_bytes():
                    content += piece
                    if len(content) > MOST_BYTES:
                        msg = f"{url}: more than {MOST_BYTES} bytes"
                        raise OSError(msg)
        except httpx.HTTPError as error:
            msg = f"{url}: {error or type(error).__name__}"
            raise OSError(msg) from error
        return bytes(content)
