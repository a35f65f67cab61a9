"""Promises of admission, fair queue and cost model together, in simulated time."""

import asyncio
from collections.abc import Callable

import pytest

from tests.engine.simulation import SUSTAINABLE, Model, Tally, simulate
from tests.load.arrivals import open_loop, poisson

OVERLOAD = 4
SECONDS = 5


def overloaded(within: float, *, client: Callable[[int], str] = str, obey: bool = True) -> tuple[Tally, Tally, float]:
    """First and second tries at four times the sustainable rate, and the good answers a second meanwhile."""
    first, second = Tally(), Tally()

    async def main() -> None:
        model = Model()
        await model.warm_up()
        moments = list(poisson(model.chance, OVERLOAD * SUSTAINABLE, SECONDS))
        if obey:
            sizes = [model.chance.randrange(20_000, 300_000) for _ in moments]
            await open_loop(moments, lambda i: model.obeying(client(i), within, first, second, sizes[i]))
        else:
            await open_loop(moments, lambda i: model.request(client(i), within, first))

    simulate(main())
    good = first.answered_between(2, SECONDS) + second.answered_between(2, SECONDS)
    return first, second, good / (SECONDS - 2)


@pytest.mark.parametrize("within", [0.2, 1, 30])
@pytest.mark.parametrize("obey", [True, False])
def test_under_overload_the_model_answers_as_many_as_it_can_in_time_and_all_that_come_back_when_told(
    within: float, obey: bool
) -> None:
    first, second, rate = overloaded(within, obey=obey)
    assert rate >= 0.95 * SUSTAINABLE
    assert first.late + second.late <= 0.01 * (first.accepted + second.accepted)
    assert (second.accepted > 500) == obey
    assert len(second.seconds) >= 0.95 * (second.accepted + second.refused)


def test_requests_of_one_address_are_known_again_by_their_size() -> None:
    _, second, _ = overloaded(1, client=lambda _: "the same")
    assert len(second.seconds) >= 0.95 * (second.accepted + second.refused)


@pytest.mark.parametrize("within", [1, 30])
def test_those_who_were_refused_at_the_same_moment_do_not_come_back_at_the_same_moment(within: float) -> None:
    first, second = Tally(), Tally()

    async def main() -> None:
        model = Model()
        await model.warm_up()
        await asyncio.gather(*(model.obeying(str(number), within, first, second) for number in range(300)))

    simulate(main())
    assert first.refused > 40
    assert first.late + second.late == 0
    assert second.refused <= 0.05 * first.refused


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_a_bulk_job_does_not_starve_single_images(share: float) -> None:
    """The singles' share of what the model can do; each comes from a client of its own."""

    def singles(with_bulk: bool) -> float:
        tally, bulk = Tally(), Tally()

        async def main() -> None:
            model = Model()
            job = [asyncio.create_task(worker(model)) for _ in range(100 if with_bulk else 0)]
            moments = list(poisson(model.chance, share * SUSTAINABLE, 1000 / SUSTAINABLE))
            await open_loop(moments, lambda i: model.request(str(i), 30, tally))
            await asyncio.gather(*job)

        async def worker(model: Model) -> None:
            for _ in range(10):
                await model.request("bulk", 30, bulk)

        simulate(main())
        assert tally.refused == tally.late == 0
        assert len(bulk.seconds) == (1000 if with_bulk else 0)
        return tally.quantile(0.99)

    assert singles(with_bulk=True) <= 2 * singles(with_bulk=False)


def test_a_client_that_fills_the_model_leaves_room_for_others() -> None:
    bulk, other = Tally(), Tally()

    async def main() -> None:
        model = Model()
        async with asyncio.TaskGroup() as group:
            for _ in range(1000):
                group.create_task(model.request("bulk", 30, bulk))
            group.create_task(model.request("other", 30, other))

    simulate(main())
    assert bulk.refused > 0
    assert len(other.seconds) == 1
    assert other.seconds[0] < 0.1 * max(bulk.seconds)


def test_where_nobody_comes_back_retry_after_does_not_grow() -> None:
    waits: list[float] = []

    async def main() -> None:
        model = Model()

        async def ask(number: int) -> None:
            wait = await model.request(str(number), 0.5, Tally())
            if wait is not None:
                waits.append(wait)

        moments = list(poisson(model.chance, OVERLOAD * SUSTAINABLE, 20))
        await open_loop(moments, ask)

    simulate(main())
    assert max(waits[-1000:]) < 5
