"""Copies of requests that name an alias reach its shadow, and nobody waits for them."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from emo_serve.engine.execution.session import Session
from emo_serve.settings import Batching, Settings
from tests.api.diverted import HALVES, PINNED, RED, asked, copied, copies, metric, wrapping_second, write_two_versions
from tests.engine.reconciling import NAME, choose
from tests.serving import GatedSession, in_process, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_two_versions(tmp_path)


@pytest.mark.parametrize("batch", [1, 4], ids=["inline", "batched"])
async def test_a_shadow_computes_copies_of_answered_images_and_answers_nobody(root: Path, batch: int) -> None:
    choose(root, aliases=PINNED, shadows={"default": {"version": "2", "share": 1}})
    async with in_process(Settings(models=root, batching=Batching(max_batch_size=batch))) as (client, services):
        for number in range(1, 6):
            assert await asked(client) == "1"
            await copied(services, "compared", number)
        assert metric(services, "emo_shadow_agreement_sum", version="2") == 5  # names agree, numbers of classes do not
        means = {of: metric(services, "emo_shadow_score_sum", version="2", of=of) / 5 for of in ("answer", "shadow")}
        assert means["answer"] > means["shadow"] + 0.001
        assert metric(services, "emo_shadow_seconds_count", version="2", of="shadow") == 5
        assert metric(services, "emo_alias_requests_total", version="1") == 5
        answered = services.metrics.registry.get_sample_value(
            "emo_requests_total", {"model": NAME, "task": "classify", "outcome": "ok"}
        )
        assert answered == 5


async def test_no_copies_are_made_of_requests_that_name_a_version_or_get_the_shadow(root: Path) -> None:
    choose(root, aliases=PINNED, splits={"default": HALVES}, shadows={"default": {"version": "2", "share": 1}})
    async with in_process(Settings(models=root, client_header="X-Client")) as (client, services):
        for version in ("1", "2"):
            assert await asked(client, f"/classify?version={version}") == version
        got = [await asked(client, **{"X-Client": str(number)}) for number in range(20)]
        await asyncio.sleep(0.2)
        assert copies(services, "compared") + copies(services, "dropped") == got.count("1") > 0


async def test_a_copy_that_finds_no_room_is_dropped_and_counted_and_no_answer_waits_for_it(root: Path) -> None:
    choose(root, aliases=PINNED, shadows={"default": {"version": "2", "share": 1}})
    gated: list[GatedSession] = []
    async with in_process(Settings(models=root), wrapping_second(GatedSession, gated)) as (client, services):
        gated[-1].gate.clear()
        assert await asked(client) == "1"
        await until(lambda: gated[-1].waiting)
        for number in range(1, 4):  # the shadow hangs, and nobody notices
            assert await asked(client) == "1"
            await copied(services, "dropped", number)
        gated[-1].gate.set()
        await until(lambda: copies(services, "compared") == 1)


class Broken:
    """A session that fails after its self-test."""

    def __init__(self, session: Session) -> None:
        self.is_broken = False
        self._session = session

    def run(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        if self.is_broken:
            raise SystemExit
        return self._session.run(batch)


async def test_a_shadow_that_fails_is_counted_and_reaches_no_client(root: Path) -> None:
    choose(root, aliases=PINNED, shadows={"default": {"version": "2", "share": 1}})
    broken: list[Broken] = []
    async with in_process(Settings(models=root), wrapping_second(Broken, broken)) as (client, services):
        broken[-1].is_broken = True
        for number in range(1, 4):
            assert await asked(client) == "1"
            await copied(services, "failed", number)
        assert (await client.get("/readyz")).status_code == 200
        broken[-1].is_broken = False
        assert await asked(client) == "1"
        await until(lambda: copies(services, "compared") == 1)


async def test_images_of_one_request_are_copied_as_far_as_there_is_room(root: Path) -> None:
    choose(root, aliases=PINNED, shadows={"default": {"version": "2", "share": 1}})
    async with in_process(Settings(models=root)) as (client, services):
        parts = [("file", ("a.png", RED, "image/png"))] * 5
        response = await client.post("/classify", files=parts)
        assert [entry["model"]["version"] for entry in response.json()["results"]] == ["1"] * 5
        await until(lambda: copies(services, "compared") + copies(services, "dropped") == 5)


async def test_a_shadow_that_is_replaced_while_it_computes_ends_in_peace(root: Path) -> None:
    choose(root, aliases=PINNED, shadows={"default": {"version": "2", "share": 1}})
    async with in_process(Settings(models=root)) as (client, services):
        for _ in range(5):
            assert await asked(client) == "1"
            choose(root, aliases=PINNED, unloaded=["2"])
            await services.catalog.reconcile()
            choose(root, aliases=PINNED, shadows={"default": {"version": "2", "share": 1}})
            await services.catalog.reconcile()
        assert copies(services, "failed") == 0
        assert json.loads((root / NAME / "serving.json").read_text())["shadows"]
