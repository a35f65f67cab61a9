"""Calls of gRPC, as a client makes them that knows the messages."""

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import numpy as np
import pytest
from numpy.typing import NDArray

from emo_serve.api.http.services import Services
from emo_serve.api.protocols.grpc_messages import HEALTH, Message, message_class
from emo_serve.process.grpc_server import GrpcServer

SERVICE = "inference.GRPCInferenceService"
InferRequest = message_class("ModelInferRequest")
InferResponse = message_class("ModelInferResponse")
StreamResponse = message_class("ModelStreamInferResponse")
Channel = Any
"""A ``grpc.aio.Channel``; grpcio comes without types."""
Metadata = Sequence[tuple[str, str]]


@asynccontextmanager
async def grpc_channel(services: Services) -> AsyncIterator[Channel]:
    """A channel to a server of its own, which works with these services."""
    server = GrpcServer(services)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{services.settings.grpc_port}") as channel:
            yield channel
    finally:
        await server.stop(5)


async def call(
    channel: Channel, method: str, body: bytes, seconds: float | None = 20, metadata: Metadata = ()
) -> bytes:
    """The bytes of the answer; raises grpc.aio.AioRpcError."""
    answer: bytes = await channel.unary_unary(f"/{SERVICE}/{method}")(body, timeout=seconds, metadata=metadata)
    return answer


async def refused(answer: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """The error of a call that has to have one."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    return caught.value


async def ask(channel: Channel, method: str, metadata: Metadata = (), **fields: Any) -> Message:  # noqa: ANN401  any field
    """The answer to a message with these fields."""
    asked, answered = message_class(f"{method}Request"), message_class(f"{method}Response")
    return answered.FromString(await call(channel, method, asked(**fields).SerializeToString(), metadata=metadata))


async def infer(channel: Channel, request: Message, **options: Any) -> Message:  # noqa: ANN401
    """The answer to a ModelInferRequest."""
    return InferResponse.FromString(await call(channel, "ModelInfer", request.SerializeToString(), **options))


async def is_serving(channel: Channel, service: str = "") -> bool:
    """What the health check says."""
    asked, answered = (message_class(f"HealthCheck{end}", HEALTH) for end in ("Request", "Response"))
    body = asked(service=service).SerializeToString()
    answer = answered.FromString(await channel.unary_unary(f"/{HEALTH}.Health/Check")(body, timeout=20))
    return bool(answer.status == 1)


def encoded(*images: bytes, model: str = "toy-classifier", raw: bool = True, **fields: Any) -> Message:  # noqa: ANN401
    """A request with encoded images."""
    request = InferRequest(model_name=model, **fields)
    entry = request.inputs.add(name="image", datatype="BYTES", shape=[len(images)])
    if raw:
        request.raw_input_contents.append(b"".join(len(image).to_bytes(4, "little") + image for image in images))
    else:
        entry.contents.bytes_contents.extend(images)
    return request


def of_pixels(pixels: NDArray[np.uint8], model: str = "toy-classifier", *, raw: bool = True) -> Message:
    """A request with pixels (N, H, W, 3)."""
    request = InferRequest(model_name=model)
    entry = request.inputs.add(name="image", datatype="UINT8", shape=pixels.shape)
    if raw:
        request.raw_input_contents.append(pixels.tobytes())
    else:
        entry.contents.uint_contents.extend(pixels.ravel().tolist())
    return request


_DTYPES: Mapping[str, str] = {"FP32": "float32", "INT64": "int64", "UINT8": "uint8"}
_FIELDS: Mapping[str, str] = {"FP32": "fp32_contents", "INT64": "int64_contents", "UINT8": "uint_contents"}


def outputs_of(answer: Message) -> dict[str, NDArray[Any]]:
    """The outputs of an answer by name, raw or not."""
    found = {}
    for position, entry in enumerate(answer.outputs):
        if answer.raw_output_contents:
            values = np.frombuffer(answer.raw_output_contents[position], _DTYPES[entry.datatype])
        else:
            values = np.array(getattr(entry.contents, _FIELDS[entry.datatype]), _DTYPES[entry.datatype])
        found[entry.name] = values.reshape(list(entry.shape))
    return found
