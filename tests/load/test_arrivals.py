"""When requests begin, in simulated time."""

import asyncio
import random

import pytest

from tests.engine.simulation import simulate
from tests.load.arrivals import closed_loop, open_loop, poisson, quantile


def test_what_happens_by_chance_happens_at_its_rate_and_with_its_spread() -> None:
    moments = list(poisson(random.Random(1), 50, 100))
    gaps = [later - earlier for earlier, later in zip([0.0, *moments], moments, strict=False)]
    assert moments == sorted(moments)
    assert max(moments) < 100
    assert len(moments) == pytest.approx(5000, rel=0.05)
    assert quantile(gaps, 0.5) == pytest.approx(0.693 / 50, rel=0.05)


def test_an_open_loop_begins_whatever_became_of_earlier_requests_and_waits_for_all() -> None:
    began: list[tuple[int, float]] = []
    ended: list[int] = []

    async def request(number: int) -> None:
        began.append((number, asyncio.get_running_loop().time()))
        await asyncio.sleep(10)
        ended.append(number)

    simulate(open_loop([0.5, 1.0, 4.0], request))
    assert began == [(0, 0.5), (1, 1.0), (2, 4.0)]
    assert ended == [0, 1, 2]


def test_in_a_closed_loop_a_client_sends_again_when_it_has_its_answer() -> None:
    sent: list[str] = []

    async def send(client: str) -> None:
        sent.append(client)
        await asyncio.sleep(len(client))

    simulate(closed_loop(["a", "bbb"], 6, send))
    assert (sent.count("a"), sent.count("bbb")) == (6, 2)


def test_a_quantile_is_a_value_that_the_share_does_not_exceed() -> None:
    assert [quantile([3, 1, 2, 4], share) for share in (0, 0.25, 0.5, 0.51, 1)] == [1, 1, 2, 3, 4]
    assert quantile([], 0.5) == 0
