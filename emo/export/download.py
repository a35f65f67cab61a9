"""The weights that the authors publish -> a version in a model repository.

They are downloaded once, verified, and kept in a cache.
"""

import hashlib
import http.client
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener

from emo.export.checkpoint_import import Origin, Target, import_file
from emo.models.names import model_name

BASE_URL = "https://raw.githubusercontent.com/zhangzjn/EMO/27d9b40fea9c2a12a2fe7acc51032184852a99d8"
BLOBS: Mapping[str, str] = MappingProxyType(
    {
        "emo_1m": "76c4282de548fa76eca6011720b29d8f80ffa784",
        "emo_2m": "9ec7138d292ca9b2d07923aec05762f547db8cf2",
        "emo_5m": "3ea7450fa9c290c3c46f372c1f5cebe1198d1ce1",
        "emo_6m": "10a248725247cf18b51e449dbd1a220354457c99",
    }
)
"""The git blob id of each file in the authors' repository at that commit."""
TIMEOUT_SECONDS = 30.0
_CHUNK = 2**16


def pull(model: str, target: Target, cache: Path, base_url: str = BASE_URL, blob: str | None = None) -> Path:
    """Download the classifier ``model`` if it is not in ``cache``, export it and return the folder.

    ``blob`` is the expected git blob id, if it is not the published one. Raise ConnectionError if the download fails,
    ValueError if it is another file, FileExistsError if the version exists.
    """
    target.check()
    model = model_name(model)
    path = f"resources/EMO_{model.removeprefix('emo_').upper()}/net.pth"
    file = cache / f"{model}.pth"
    try:
        fetch(f"{base_url.rstrip('/')}/{path}", file, blob or BLOBS[model])
    except ConnectionError as error:
        import_it = f"emo import {Path(path).name} --model {model} --name {target.name}"
        msg = f"{error}. --base-url names a mirror; or fetch the file in another way and `{import_it}`"
        raise ConnectionError(msg) from error
    origin = Origin(
        training_data="ImageNet-1K, as the authors say",
        terms=f"The repository that it comes from states no licence ({base_url}).",
    )
    return import_file(file, target, origin, architecture=model)


def default_cache() -> Path:
    """The folder for downloads: ``emo`` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emo"


def fetch(url: str, target: Path, blob: str, timeout: float = TIMEOUT_SECONDS) -> None:
    """Make sure that ``target`` is the file with this git blob id; download it, or the rest of it, if it is not.

    Partial data is in ``<target>.partial`` until it is complete and verified. Raise ConnectionError if it is
    incomplete: the next call resumes; ValueError if it is another file: then nothing is kept.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        msg = f"{url}: only http and https are taken"
        raise ValueError(msg)
    partial = target.with_name(f"{target.name}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and blob_id(target) == blob:
        return
    if not (partial.exists() and blob_id(partial) == blob):
        try:
            _receive(url, partial, timeout)
        except (URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            msg = f"{url}: {error}"
            if partial.exists():
                msg += f"; {partial.stat().st_size} bytes are kept, the same command goes on from there"
            raise ConnectionError(msg) from error
    found = blob_id(partial)
    if found != blob:
        partial.unlink()
        msg = f"{url} is another file than published (git blob {found}, wanted is {blob}); it was thrown away"
        raise ValueError(msg)
    partial.replace(target)


def _receive(url: str, partial: Path, timeout: float) -> None:
    """Append the missing part, or write everything if the server does not support ranges."""
    have = partial.stat().st_size if partial.exists() else 0
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310  # scheme checked by fetch
    try:
        response = build_opener().open(request, timeout=timeout)  # uses the proxies of the environment
    except HTTPError as error:
        error.close()
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        partial.unlink()  # it is not a beginning of that file
        _receive(url, partial, timeout)
        return
    from tqdm import tqdm  # noqa: PLC0415  installed with PyTorch's extra

    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            msg = "the server sent another part than asked for"
            raise ConnectionError(msg)
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            partial.open("ab" if have else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=partial.stem) as bar,
        ):
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            arrived = file.tell()
    if total is not None and arrived != total:
        msg = f"the connection ended after {arrived} of {total} bytes"
        raise ConnectionError(msg)


def blob_id(path: Path) -> str:
    """The git blob id of a file: SHA-1 of its length and bytes, as hex digits."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
