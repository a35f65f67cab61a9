"""Messages of gRPC: their classes, and bytes of a client -> a message, bounded before it is parsed.

The classes are made of the descriptors of ``open_inference.proto`` and ``health.proto``, in a pool of their own:
another package in this process may know messages of the same names.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from emo_serve.errors import InvalidRequest

INFERENCE, HEALTH = "inference", "grpc.health.v1"
"""The packages."""
Message = Any
"""A message of any class: their fields are known at run time only."""

MOST_FIELDS = 4096
"""In a message and those inside it: as an object, each takes a hundred times its two bytes on the wire."""
MOST_PACKED_BYTES = 2_000_000
"""Of numbers that are written one after the other: they grow eightfold."""
_DESCRIPTORS = Path(__file__).with_name("grpc_descriptors.binpb")
_LENGTH_DELIMITED = 2
_FIXED: Mapping[int, int] = {1: 8, 5: 4}
"""The bytes of a value, by its type on the wire."""

# What of a ModelInferRequest holds messages, and what packed numbers, by the numbers of the fields that lead there.
_MESSAGES = frozenset({(4,), (5,), (6,), (5, 4), (5, 5), (6, 2), (4, 2), (5, 4, 2), (6, 2, 2)})
_PACKED = frozenset({(5, 3), *((5, 5, number) for number in range(1, 8))})


def _read_pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(_DESCRIPTORS.read_bytes()).file:
        pool.Add(file)
    return pool


_POOL = _read_pool()


def message_class(name: str, package: str = INFERENCE) -> Any:  # noqa: ANN401  made at run time
    """The class of the messages of this name."""
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{package}.{name}"))


def read_message(kind: Any, body: bytes) -> Message:  # noqa: ANN401  as above
    """The message of this class in ``body``, whose ``size_of`` was asked before; raises InvalidRequest."""
    try:
        return kind.FromString(body)
    except DecodeError as error:
        msg = f"The message is no {kind.DESCRIPTOR.full_name}."
        raise InvalidRequest(msg) from error


def size_of(body: bytes) -> int:
    """How many bytes of a message become objects; raises InvalidRequest where they would be too many.

    The bytes of raw tensors and of encoded images are copied as they are, however many.
    """
    fields = packed = 0
    for is_packed, size in _fields(memoryview(body), ()):
        fields += 1
        packed += size if is_packed else 0
        if fields > MOST_FIELDS:
            msg = f"The message has more than {MOST_FIELDS} fields; send the elements of a tensor as raw contents."
            raise InvalidRequest(msg)
        if packed > MOST_PACKED_BYTES:
            msg = (
                f"The numbers of the message take more than {MOST_PACKED_BYTES} bytes, as many as are allowed; "
                "send them as raw contents."
            )
            raise InvalidRequest(msg)
    return packed + fields


def _fields(view: memoryview, path: tuple[int, ...]) -> Iterator[tuple[bool, int]]:
    """Whether each field, inner ones too, holds packed numbers, and its bytes; raises InvalidRequest."""
    at = 0
    while at < len(view):
        tag, at = _varint(view, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _, end = _varint(view, at)
        elif kind == _LENGTH_DELIMITED:
            length, at = _varint(view, at)
            end = at + length
        elif kind in _FIXED:
            end = at + _FIXED[kind]
        else:
            raise _cut_off()
        if end > len(view):
            raise _cut_off()
        inner = (*path, number)
        yield inner in _PACKED and kind == _LENGTH_DELIMITED, end - at
        if inner in _MESSAGES and kind == _LENGTH_DELIMITED:
            yield from _fields(view[at:end], inner)
        at = end


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            break
        byte, at = view[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # the highest bit says whether there are more
            return value, at
    raise _cut_off()


def _cut_off() -> InvalidRequest:
    return InvalidRequest("The message cannot be read: a field of it is cut off, or of no known kind.")
