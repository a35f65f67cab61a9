"""Workers know of each other's reserved moments."""

import asyncio
import json
from math import ceil

from emo_serve.engine.scheduling.retry_schedule import RetrySchedule
from emo_serve.engine.scheduling.retry_sync import RetrySync, Updates
from tests.engine.simulation import SUSTAINABLE, Model, Tally, simulate
from tests.load.arrivals import open_loop, poisson

INTERVAL = 0.01


def workers(*models: RetrySchedule) -> None:
    """Let them serve one model in as many workers, which send to each other as processes do."""
    syncs: list[RetrySync] = []
    for schedule in models:

        def broadcast(updates: Updates, own: int = len(syncs)) -> None:
            for number, other in enumerate(syncs):
                if number != own:
                    other.receive(json.loads(json.dumps(updates)))

        retry_sync = RetrySync(broadcast)
        retry_sync.register("toy/1", schedule)
        syncs.append(retry_sync)


def test_a_moment_that_one_worker_has_reserved_is_claimed_at_another_once() -> None:
    async def main() -> None:
        first, second = RetrySchedule(), RetrySchedule()
        workers(first, second)
        now = asyncio.get_running_loop().time()
        moment = now + first.reserve("a", now, 1.5, INTERVAL, 100)
        await asyncio.sleep(0.5)
        assert not second.claim("a", moment - 0.1)
        assert second.claim("a", moment)
        await asyncio.sleep(0.5)
        assert not first.claim("a", moment)
        assert not second.claim("a", moment)

    simulate(main())


def test_places_are_kept_only_where_the_moment_was_reserved() -> None:
    async def main() -> None:
        first, second = RetrySchedule(), RetrySchedule()
        workers(first, second)
        now = asyncio.get_running_loop().time()
        first.reserve("a", now, 1.5, INTERVAL, 100)
        await asyncio.sleep(0.5)
        assert (first.expected(now, 5.0), second.expected(now, 5.0)) == (1, 0)

    simulate(main())


def test_what_nobody_claims_is_forgotten_everywhere() -> None:
    first, second = RetrySchedule(), RetrySchedule()
    for number in range(100):
        second.apply(str(number), 0.0, first.reserve(str(number), 0.0, 0.0, INTERVAL, 10), "reserved")
    second.apply("another", 1000.0, 1001.0, "reserved")
    assert set(second._due) == {"another"}
    assert [name for names in second._elsewhere.values() for name in names] == ["another"]


def test_a_model_that_has_ended_is_not_kept_in_memory_and_updates_of_it_are_passed_over() -> None:
    async def main() -> None:
        retry_sync = RetrySync(lambda _: None)
        retry_sync.register("toy/1", RetrySchedule())
        assert not retry_sync._schedules
        retry_sync.receive([("toy/1", "a", 1.0, "reserved")])

    simulate(main())


def test_under_overload_second_tries_succeed_at_whatever_worker_they_come_to() -> None:
    first, second, seconds = Tally(), Tally(), 5

    async def main() -> None:
        models = [Model(seed) for seed in (1, 2)]
        workers(*(model.admission.retry_schedule for model in models))
        for model in models:
            await model.warm_up()
        chance = models[0].chance

        async def client(number: int) -> None:
            wait = await chance.choice(models).request(str(number), 1, first)
            if wait is not None:
                await asyncio.sleep(max(1, ceil(wait)))
                await chance.choice(models).request(str(number), 1, second)

        await open_loop(list(poisson(chance, 2 * 4 * SUSTAINABLE, seconds)), client)

    simulate(main())
    assert second.accepted > 500
    assert len(second.seconds) >= 0.95 * (second.accepted + second.refused)
