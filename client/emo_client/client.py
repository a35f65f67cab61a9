"""The synchronous client."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, Self, TypeVar, overload

import httpx

from emo_client.calls import Limits, Outcome, Send, call
from emo_client.errors import Unreachable
from emo_client.images import Picture, address_of, encode
from emo_client.reading import Body, Deadline
from emo_client.requests import checked, fault_of_address, headers_for, parameters
from emo_client.results import Classification, Detections, ModelInfo, Models, Segmentation, read

T = TypeVar("T")


class Client:
    """Asks one server; used by any number of threads, closed by ``close`` or at the end of a ``with`` block."""

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Ask the server at ``url``, which may have a path.

        ``timeout`` is for one picture with all ``retries``, in seconds; the server is told and refuses what it cannot
        answer in time. The key is by default that in EMO_CLIENT_API_KEY. ``transport`` replaces the network. Raises
        ValueError for what is no address or no key.
        """
        self._limits = Limits(timeout, retries)
        self._deadline = Deadline()
        self._http = httpx.Client(
            base_url=checked(url), headers=headers_for(api_key), timeout=timeout, transport=transport
        )

    def __enter__(self) -> Self:
        """Give the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def classify(
        self,
        picture: Picture,
        *,
        model: str | None = None,
        version: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
    ) -> Classification:
        """The best classes of a picture.

        Raises Problem, Unreachable, OSError for a file that cannot be read, or ValueError or TypeError for no picture.
        """
        asked = parameters(model=model, version=version, top_k=top_k, score_threshold=score_threshold)
        return read(Classification, self.ask("classify", picture, asked))

    def detect(
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
        """The objects in a picture; raises as ``classify``."""
        asked = parameters(
            model=model,
            version=version,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            classes=classes,
            class_agnostic=class_agnostic,
        )
        return read(Detections, self.ask("detect", picture, asked))

    def segment(self, picture: Picture, *, model: str | None = None, version: str | None = None) -> Segmentation:
        """The classes that occur in a picture, with masks; raises as ``classify``."""
        asked = parameters(model=model, version=version)
        return read(Segmentation, self.ask("segment", picture, asked))

    def ask(self, task: str, picture: Picture, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The server's JSON about a picture; ``task`` is classify, detect or segment. Raises as ``classify``."""
        return self._call("POST", task, asked, self._encoded(picture))

    def models(self) -> list[ModelInfo]:
        """The models that the server has; raises Problem or Unreachable."""
        return read(Models, self._call("GET", "models", {}, None)).models

    @overload
    def map(
        self,
        ask: Callable[[Picture], T],
        pictures: Iterable[Picture],
        *,
        concurrency: int = ...,
        return_exceptions: Literal[False] = ...,
    ) -> Iterator[T]: ...

    @overload
    def map(
        self,
        ask: Callable[[Picture], T],
        pictures: Iterable[Picture],
        *,
        concurrency: int = ...,
        return_exceptions: Literal[True],
    ) -> Iterator[T | Exception]: ...

    def map(
        self,
        ask: Callable[[Picture], T],
        pictures: Iterable[Picture],
        *,
        concurrency: int = 8,
        return_exceptions: bool = False,
    ) -> Iterator[T | Exception]:
        """The answers about many pictures, in order, with so many requests at a time.

        ``ask`` is a method of this client, or a function of a picture that calls one: ``client.map(client.detect,
        paths)``. With ``return_exceptions`` a picture that fails has its error as the answer, and the others go on.
        """
        running: deque[Future[T]] = deque()
        with ThreadPoolExecutor(concurrency) as pool:
            try:
                for picture in pictures:
                    running.append(pool.submit(ask, picture))
                    if len(running) == 2 * concurrency:
                        first = running.popleft()
                        failure = _failure(first) if return_exceptions else None
                        yield first.result() if failure is None else failure
                for future in running:
                    failure = _failure(future) if return_exceptions else None
                    yield future.result() if failure is None else failure
            finally:
                for future in running:
                    future.cancel()

    def _encoded(self, picture: Picture) -> bytes:
        address = address_of(picture)
        if address is None:
            return encode(picture)
        if fault := fault_of_address(address):
            msg = f"{address!r}: {fault}"
            raise Unreachable(msg)
        seconds = self._limits.timeout
        try:  # without the key of the server
            with httpx.Client(follow_redirects=True, timeout=seconds) as http:
                return self._answer(http, http.build_request("GET", address), seconds).raise_for_status().content
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: of what it redirects to
            msg = f"{address}: {error}"
            raise Unreachable(msg) from error

    def _call(self, method: str, path: str, params: Mapping[str, Any], content: bytes | None) -> dict[str, Any]:
        steps = call(method, path, params, content, self._limits, time.monotonic)
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as ended:
                answer: dict[str, Any] = ended.value
                return answer
            if isinstance(step, Send):
                outcome = self._send(step)
            else:
                time.sleep(step.seconds)
                outcome = None

    def _send(self, step: Send) -> Outcome:
        request = self._http.build_request(
            step.method, step.path, params=step.params, content=step.content, headers=step.headers, timeout=step.timeout
        )
        try:
            return self._answer(self._http, request, step.timeout)
        except httpx.RequestError as error:
            return error

    def _answer(self, http: httpx.Client, request: httpx.Request, seconds: float) -> httpx.Response:
        """The whole answer; raises httpx.RequestError, also where it does not end within so many seconds."""
        self._deadline.end = time.monotonic() + seconds
        request.extensions = {**request.extensions, "trace": self._deadline.trace}
        try:
            response = http.send(request, stream=True)
            try:
                body = Body(response, self._deadline.end)
                for part in response.iter_bytes():
                    body.add(part)
                return body.whole()
            finally:
                response.close()
        except TimeoutError as error:
            msg = "no answer in time"
            raise httpx.ReadTimeout(msg, request=request) from error


def _failure(future: "Future[Any]") -> Exception | None:
    """The error of a call that has ended, unless it is one that ends programs."""
    error = future.exception()
    return error if isinstance(error, Exception) else None
