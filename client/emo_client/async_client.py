"""The asynchronous client."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Self, TypeVar, overload

import httpx

from emo_client.calls import Limits, Outcome, Send, call
from emo_client.errors import Unreachable
from emo_client.images import Picture, address_of, encode
from emo_client.reading import Body
from emo_client.requests import checked, fault_of_address, headers_for, parameters
from emo_client.results import Classification, Detections, ModelInfo, Models, Segmentation, read

T = TypeVar("T")


class AsyncClient:
    """Asks one server from one event loop; closed by ``aclose`` or at the end of an ``async with`` block."""

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """See ``Client``."""
        self._limits = Limits(timeout, retries)
        self._http = httpx.AsyncClient(
            base_url=checked(url), headers=headers_for(api_key), timeout=timeout, transport=transport
        )

    async def __aenter__(self) -> Self:
        """Give the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def classify(
        self,
        picture: Picture,
        *,
        model: str | None = None,
        version: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
    ) -> Classification:
        """See ``Client.classify``."""
        asked = parameters(model=model, version=version, top_k=top_k, score_threshold=score_threshold)
        return read(Classification, await self.ask("classify", picture, asked))

    async def detect(
        self,
        picture: Picture,
        *,
        model: str | None = None,
        version: str | None = None,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        classes: Sequence[str] | None = None,
        class_agnostic: bool | None = None,
    ) -> Detections:
        """See ``Client.detect``."""
        asked = parameters(
            model=model,
            version=version,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            classes=classes,
            class_agnostic=class_agnostic,
        )
        return read(Detections, await self.ask("detect", picture, asked))

    async def segment(self, picture: Picture, *, model: str | None = None, version: str | None = None) -> Segmentation:
        """See ``Client.segment``."""
        asked = parameters(model=model, version=version)
        return read(Segmentation, await self.ask("segment", picture, asked))

    async def ask(self, task: str, picture: Picture, asked: Mapping[str, Any]) -> dict[str, Any]:
        """See ``Client.ask``."""
        return await self._call("POST", task, asked, await self._encoded(picture))

    async def models(self) -> list[ModelInfo]:
        """See ``Client.models``."""
        return read(Models, await self._call("GET", "models", {}, None)).models

    @overload
    def map(
        self,
        ask: Callable[[Picture], Awaitable[T]],
        pictures: Iterable[Picture],
        *,
        concurrency: int = ...,
        return_exceptions: Literal[False] = ...,
    ) -> AsyncIterator[T]: ...

    @overload
    def map(
        self,
        ask: Callable[[Picture], Awaitable[T]],
        pictures: Iterable[Picture],
        *,
        concurrency: int = ...,
        return_exceptions: Literal[True],
    ) -> AsyncIterator[T | Exception]: ...

    async def map(
        self,
        ask: Callable[[Picture], Awaitable[T]],
        pictures: Iterable[Picture],
        *,
        concurrency: int = 8,
        return_exceptions: bool = False,
    ) -> AsyncIterator[T | Exception]:
        """See ``Client.map``: ``async for found in client.map(client.detect, paths)``."""
        if concurrency < 1:
            msg = f"concurrency is {concurrency}: allowed are 1 and more"
            raise ValueError(msg)
        running: deque[asyncio.Future[T]] = deque()
        try:
            for picture in pictures:
                running.append(asyncio.ensure_future(ask(picture)))
                if len(running) == concurrency:
                    first = running.popleft()
                    await asyncio.wait([first])
                    failure = _failure(first) if return_exceptions else None
                    yield first.result() if failure is None else failure
            for future in running:
                await asyncio.wait([future])
                failure = _failure(future) if return_exceptions else None
                yield future.result() if failure is None else failure
        finally:
            for future in running:
                future.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _encoded(self, picture: Picture) -> bytes:
        address = address_of(picture)
        if address is None:
            return await asyncio.to_thread(encode, picture)
        if fault := fault_of_address(address):
            msg = f"{address!r}: {fault}"
            raise Unreachable(msg)
        seconds = self._limits.timeout
        try:  # without the key of the server
            async with (
                asyncio.timeout(seconds),
                httpx.AsyncClient(follow_redirects=True, timeout=seconds) as http,
                http.stream("GET", address) as response,
            ):
                return (await _whole(response.raise_for_status())).content
        except TimeoutError as error:
            msg = f"{address}: no answer in time"
            raise Unreachable(msg) from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, ExceptionGroup) as error:  # of what it redirects to, too
            msg = f"{address}: {error}"
            raise Unreachable(msg) from error

    async def _call(self, method: str, path: str, params: Mapping[str, Any], content: bytes | None) -> dict[str, Any]:
        steps = call(method, path, params, content, self._limits, time.monotonic)
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as ended:
                answer: dict[str, Any] = ended.value
                return answer
            if isinstance(step, Send):
                outcome = await self._send(step)
            else:
                await asyncio.sleep(step.seconds)
                outcome = None

    async def _send(self, step: Send) -> Outcome:
        try:
            async with (
                asyncio.timeout(step.timeout),
                self._http.stream(
                    step.method,
                    step.path,
                    params=step.params,
                    content=step.content,
                    headers=step.headers,
                    timeout=step.timeout,
                ) as response,
            ):
                return await _whole(response)
        except TimeoutError:
            return httpx.ReadTimeout("no answer in time")
        except httpx.RequestError as error:
            return error


async def _whole(response: httpx.Response) -> httpx.Response:
    body = Body(response)
    async for part in response.aiter_bytes():
        body.add(part)
    return body.whole()


def _failure(future: "asyncio.Future[Any]") -> Exception | None:
    """The error of a call that has ended, unless it is one that ends programs."""
    error = future.exception()
    return error if isinstance(error, Exception) else None
