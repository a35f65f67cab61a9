"""Requests of all protocols at once: each gets the answer that the own route gives about its picture."""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.protocols.grpc_calls import Channel, encoded, grpc_channel, infer, outputs_of
from tests.protocols.pictures import text
from tests.protocols.seeds import FORM, form
from tests.serving import free_port, in_process, settings_for
from tests.support import encode_image, plain, quadrants

pytestmark = pytest.mark.anyio

REQUESTS, AT_A_TIME = 512, 64
PICTURES = [
    *(encode_image(plain(colour, 64, 48)) for colour in ("red", "green", "blue")),
    encode_image(plain("blue", 40, 40), "JPEG"),
    encode_image(quadrants("red", "white", "green", "blue")),
    encode_image(quadrants("white", "green", "white", "red")),
]
Own = dict[str, Any]
Check = Callable[[bytes, Own, Own], Awaitable[None]]
"""Ask about a picture; compare with what /classify and /detect say about it."""


def same_scores(scores: NDArray[np.float32], own: Own) -> None:
    for entry in own["classifications"]:
        assert scores[entry["class_id"]] == pytest.approx(entry["score"], abs=1e-6)


def same_labels(found: dict[str, float], own: Own) -> None:
    expected = {entry["name"]: entry["score"] for entry in own["classifications"]}
    assert found == pytest.approx({name: expected[name] for name in found}, abs=1e-6)
    assert found


class Dialects:
    """Asks in each of them."""

    def __init__(self, client: httpx.AsyncClient, channel: Channel) -> None:
        self._client = client
        self._channel = channel

    async def _post(self, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401  what httpx takes
        answer = await self._client.post(path, timeout=600, **request)
        assert answer.status_code == 200, answer.text
        return answer

    async def own(self, picture: bytes, classes: Own, objects: Own) -> None:
        png = {"content-type": "application/octet-stream"}
        assert (await self._post("/classify?top_k=1000", content=picture, headers=png)).json() == classes
        assert (await self._post("/detect", content=picture, headers=png)).json() == objects

    async def v2(self, picture: bytes, classes: Own, _: Own) -> None:
        entry = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text(picture)]}
        answer = (await self._post("/v2/models/toy-classifier/infer", json={"inputs": [entry]})).json()
        same_scores(np.array(answer["outputs"][0]["data"], np.float32), classes)

    async def v2_raw(self, picture: bytes, classes: Own, _: Own) -> None:
        headers = {"Inference-Header-Content-Length": "0"}
        answer = await self._post("/v2/models/toy-classifier/infer", content=picture, headers=headers)
        size = int(answer.headers["Inference-Header-Content-Length"])
        assert json.loads(answer.content[:size])["outputs"][0]["name"] == "scores"
        same_scores(np.frombuffer(answer.content[size:], np.float32), classes)

    async def grpc(self, picture: bytes, classes: Own, _: Own) -> None:
        same_scores(outputs_of(await infer(self._channel, encoded(picture), seconds=600))["scores"][0], classes)

    async def grpc_objects(self, picture: bytes, _: Own, objects: Own) -> None:
        found = outputs_of(await infer(self._channel, encoded(picture, model="toy-detector"), seconds=600))
        expected = objects["detections"]
        assert found["num_detections"].tolist() == [len(expected)]
        for place, entry in enumerate(expected):
            assert found["detection_boxes"][0, place] == pytest.approx(entry["box"], abs=0.01)

    async def huggingface(self, picture: bytes, classes: Own, _: Own) -> None:
        found = (await self._post("/models/toy-classifier", content=picture)).json()
        same_labels({entry["label"]: entry["score"] for entry in found}, classes)

    async def torchserve(self, picture: bytes, classes: Own, _: Own) -> None:
        same_labels((await self._post("/predictions/toy-classifier", content=picture)).json(), classes)

    async def sagemaker(self, picture: bytes, classes: Own, _: Own) -> None:
        headers = {"content-type": "image/png", "X-Amzn-SageMaker-Custom-Attributes": "top_k=1000"}
        assert (await self._post("/invocations", content=picture, headers=headers)).json() == classes

    async def vertex(self, picture: bytes, classes: Own, _: Own) -> None:
        content = {"instances": [{"b64": text(picture)}], "parameters": {"top_k": 1000}}
        answer = await self._post("/v1/endpoints/1/deployedModels/2:predict", json=content)
        assert answer.json() == {"predictions": [classes]}

    async def tfserving(self, picture: bytes, _: Own, objects: Own) -> None:
        content = {"instances": [{"b64": text(picture)}]}
        answer = await self._post("/v1/models/toy-detector:predict", json=content)
        assert answer.json() == {"predictions": [objects]}

    async def deepstack(self, picture: bytes, _: Own, objects: Own) -> None:
        body = form("image", picture, min_confidence="0.4")
        found = (await self._post("/v1/vision/detection", content=body, headers=FORM)).json()["predictions"]
        expected = [entry for entry in objects["detections"] if entry["score"] >= 0.4]
        assert [entry["label"] for entry in found] == [entry["name"] for entry in expected]
        for entry, own in zip(found, expected, strict=True):
            assert [entry[side] for side in ("x_min", "y_min", "x_max", "y_max")] == [*map(round, own["box"])]


@pytest.fixture
async def dialects(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Dialects]:
    models = tmp_path_factory.mktemp("models")
    settings = settings_for(models, grpc_port=free_port(), request_timeout_seconds=600)
    async with in_process(settings) as (client, services), grpc_channel(services) as channel:
        yield Dialects(client, channel)


async def test_requests_of_all_protocols_at_once_get_the_answers_of_the_own_routes(dialects: Dialects) -> None:
    octets = {"content-type": "application/octet-stream"}
    own = [
        [
            (await dialects._post(path, content=picture, headers=octets)).json()
            for path in ("/classify?top_k=1000", "/detect")
        ]
        for picture in PICTURES
    ]
    assert len({str(answers) for answers in own}) == len(PICTURES), "no answer can pass for another"
    checks: list[Check] = [getattr(dialects, name) for name in vars(Dialects) if not name.startswith("_")]
    kinds = [(check, position) for check in checks for position in range(len(PICTURES))]
    asked = list(itertools.islice(itertools.cycle(kinds), REQUESTS))
    random.Random(0).shuffle(asked)
    waiting = iter(asked)

    async def ask() -> None:
        for check, position in waiting:
            await check(PICTURES[position], *own[position])

    await asyncio.gather(*(ask() for _ in range(AT_A_TIME)))
    assert next(waiting, None) is None
