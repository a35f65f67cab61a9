"""Pictures and output files in an object store, by fsspec: ``s3://…``, and whatever else has a package for fsspec."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from emo_serve.errors import StartupError
from emo_serve.picture_files import is_hidden, is_picture

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_OF_ONE_OBJECT = (FileNotFoundError, PermissionError, IsADirectoryError)
"""What is wrong with an object, and not with its store."""


class StoreFault(StartupError):
    """The store cannot be reached, or does not let in: nothing is known about the object that was asked for."""


def is_url(text: str) -> bool:
    """True for the address of an object or a folder of them."""
    return _URL.match(text) is not None


def scheme_of(url: str) -> str:
    """What an address begins with, such as ``s3``."""
    return url.partition("://")[0]


def read_object(url: str, most: int) -> bytes:
    """The first ``most`` bytes and one more, in one request; raises OSError if it cannot be had, or StoreFault."""
    files = _store(url)
    try:
        data: bytes = files.cat_file(files._strip_protocol(url), start=0, end=most + 1)  # noqa: SLF001  # its only name
    except _OF_ONE_OBJECT:
        raise
    except Exception as error:
        if _is_empty(error):
            return b""
        raise _fault(url, error) from error
    return data


def write_object(url: str, content: bytes) -> None:
    """Write an object, whole or not at all; raises StoreFault."""
    files = _store(url)
    try:
        files.pipe_file(files._strip_protocol(url), content)  # noqa: SLF001  # as above
    except Exception as error:
        raise _fault(url, error) from error


def names_below(url: str) -> set[str]:
    """Names of the objects directly in a folder, which need not exist; raises StoreFault."""
    files = _store(url)
    try:
        entries: list[str] = files.ls(files._strip_protocol(url), detail=False, refresh=True)  # noqa: SLF001  # as above
    except FileNotFoundError:
        return set()
    except Exception as error:
        raise _fault(url, error) from error
    return {PurePosixPath(entry).name for entry in entries}


def find_objects(url: str) -> Iterator[str]:
    """Addresses of the pictures that an address names, sorted: one object, those below a folder, or of a pattern.

    Raises FileNotFoundError if it names nothing, or StoreFault.
    """
    files = _store(url)
    path = files._strip_protocol(url)  # noqa: SLF001  # as above
    try:
        if any(sign in path for sign in "*?["):
            found = sorted(files.glob(path))
        elif files.isfile(path):
            found = [path]
        else:
            below = files.find(path)
            found = sorted(name for name in below if _is_wanted(name.removeprefix(path)))
    except Exception as error:
        raise _fault(url, error) from error
    if not found:
        msg = f"{url}: there is no such object, and no picture below it"
        raise FileNotFoundError(msg)
    files.invalidate_cache()  # the listing, which may be long
    return (files.unstrip_protocol(name) for name in found)


def _is_wanted(name: str) -> bool:
    path = PurePosixPath(name)
    return is_picture(path) and not any(is_hidden(part) for part in path.parts)


def require_packages(url: str) -> None:
    """Raise StartupError if addresses of this kind need a package that is missing, or are of no kind at all."""
    scheme = scheme_of(url)
    try:
        import fsspec  # noqa: PLC0415  # an extra

        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        known = "" if scheme == "s3" else f", and the package of fsspec for {scheme} ({error})"
        msg = f"{url}: object stores need more packages: pip install 'emo-serve[s3]'{known}"
        raise StartupError(msg) from error
    except ValueError as error:
        msg = f"{url}: {error}"
        raise StartupError(msg) from error


def _store(url: str) -> Any:  # noqa: ANN401  # fsspec has no types
    """The file system of an address; raises StartupError as ``require_packages``, or OSError for what is no address."""
    require_packages(url)
    import fsspec  # noqa: PLC0415  # an extra

    try:
        return fsspec.url_to_fs(url)[0]
    except ValueError as error:
        msg = f"{url}: {error}"
        raise OSError(msg) from error


def _is_empty(error: BaseException) -> bool:
    """True if a store says that an object has no first byte."""
    return any("InvalidRange" in str(fault) for fault in (error, error.__cause__))


def _fault(url: str, error: Exception) -> StoreFault:
    return StoreFault(f"{url}: {type(error).__name__}: {error}")
