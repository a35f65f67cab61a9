"""Workers know of each other's booked moments."""

import asyncio
import json
from math import ceil

from emo_serve.engine.scheduling.retry_schedule import Returns
from emo_serve.engine.scheduling.retry_sync import Bookings, News
from tests.engine.simulation import SUSTAINABLE, Model, Tally, at_moments, poisson, simulate

INTERVAL = 0.01


def workers(*models: Returns) -> None:
    """Let them serve one model in as many workers, who tell each other as processes do."""
    all_bookings: list[Bookings] = []
    for returns in models:

        def share(news: News, own: int = len(all_bookings)) -> None:
            for number, other in enumerate(all_bookings):
                if number != own:
                    other.learn(json.loads(json.dumps(news)))

        bookings = Bookings(share)
        bookings.join("toy/1", returns)
        all_bookings.append(bookings)


def test_a_moment_that_one_worker_has_booked_is_redeemed_at_another_once() -> None:
    async def main() -> None:
        first, second = Returns(), Returns()
        workers(first, second)
        now = asyncio.get_running_loop().time()
        moment = now + first.book("a", now, 1.5, INTERVAL, 100)
        await asyncio.sleep(0.5)
        assert not second.redeem("a", moment - 0.1)
        assert second.redeem("a", moment)
        await asyncio.sleep(0.5)
        assert not first.redeem("a", moment)
        assert not second.redeem("a", moment)

    simulate(main())


def test_places_are_kept_only_where_the_moment_was_booked() -> None:
    async def main() -> None:
        first, second = Returns(), Returns()
        workers(first, second)
        now = asyncio.get_running_loop().time()
        first.book("a", now, 1.5, INTERVAL, 100)
        await asyncio.sleep(0.5)
        assert (first.expected(now, 5.0), second.expected(now, 5.0)) == (1, 0)

    simulate(main())


def test_what_nobody_redeems_is_forgotten_everywhere() -> None:
    first, second = Returns(), Returns()
    for number in range(100):
        second.learn(str(number), 0.0, first.book(str(number), 0.0, 0.0, INTERVAL, 10), "booked")
    second.learn("another", 1000.0, 1001.0, "booked")
    assert set(second._due) == {"another"}
    assert [name for names in second._elsewhere.values() for name in names] == ["another"]


def test_a_model_that_has_ended_is_not_kept_in_memory_and_news_of_it_are_passed_over() -> None:
    async def main() -> None:
        bookings = Bookings(lambda _: None)
        bookings.join("toy/1", Returns())
        assert not bookings._returns
        bookings.learn([("toy/1", "a", 1.0, "booked")])

    simulate(main())


def test_under_overload_second_tries_succeed_at_whatever_worker_they_come_to() -> None:
    first, second, seconds = Tally(), Tally(), 5

    async def main() -> None:
        models = [Model(seed) for seed in (1, 2)]
        workers(*(model.admission.returns for model in models))
        for model in models:
            await model.warm_up()
        chance = models[0].chance

        async def client(name: str) -> None:
            wait = await chance.choice(models).request(name, 1, first)
            if wait is not None:
                await asyncio.sleep(max(1, ceil(wait)))
                await chance.choice(models).request(name, 1, second)

        moments = list(poisson(chance, 2 * 4 * SUSTAINABLE, seconds))
        await at_moments(moments, (client(str(number)) for number, _ in enumerate(moments)))

    simulate(main())
    assert second.accepted > 500
    assert len(second.seconds) >= 0.95 * (second.accepted + second.refused)
