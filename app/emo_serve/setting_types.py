"""Kinds of values that settings have beside plain ones, each with what is said of one that is not allowed."""

import re
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/\s?#@]+")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_LONGEST_PATH = 256
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")


def _words(value: object) -> object:
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


def _origins(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        if not _ORIGIN.fullmatch(word):
            msg = f"{word!r} is no origin: allowed are scheme://host or scheme://host:port, without a path, and *"
            raise ValueError(msg)
    return words


def _networks(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        try:
            network = None if word == "*" else ip_network(word, strict=False)
        except ValueError:
            msg = f"{word!r} is no address or network: allowed are such as 10.0.0.7, 10.0.0.0/8, 2001:db8::/32, and *"
            raise ValueError(msg) from None
        address = word.partition("/")[0]
        if network is not None and "/" in word and network.network_address != ip_address(address):
            msg = f"{word!r} is an address and no network: allowed are {address} alone, or {network}"
            raise ValueError(msg)
    return words


def _path(text: str) -> str:
    if len(text) > _LONGEST_PATH or not _PATH.fullmatch(text):
        msg = (
            f"{text[:100]!r} is no path to publish the server below: allowed are such as /vision or /a/b, a slash "
            f"before each part and none at the end, of letters, digits and . _ ~ -, at most {_LONGEST_PATH} characters"
        )
        raise ValueError(msg)
    return text


def _header(text: str) -> str:
    if not _HEADER.fullmatch(text):
        msg = f"{text[:100]!r} is no name of a header, as X-Forwarded-For: allowed are 1 to 64 letters, digits and -"
        raise ValueError(msg)
    return text


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
"""Written with commas in between."""
Origins = Annotated[Words, AfterValidator(_origins)]
Networks = Annotated[Words, AfterValidator(_networks)]
PublicPath = Annotated[str, AfterValidator(_path)]
ProtocolName = Literal["v2", "huggingface", "deepstack", "torchserve", "roboflow", "sagemaker", "vertex", "tfserving"]
"""A protocol of other servers that is spoken beside the own one."""
ProtocolNames = Annotated[tuple[ProtocolName, ...], NoDecode, BeforeValidator(_words)]
MetricNames = Annotated[tuple[Literal["triton", "kserve"], ...], NoDecode, BeforeValidator(_words)]
"""Servers whose names of metrics are given beside the own ones."""
HeaderName = Annotated[str, AfterValidator(_header)]
