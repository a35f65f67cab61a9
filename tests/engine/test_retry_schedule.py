import math
from itertools import pairwise

from emo_serve.engine.scheduling.retry_schedule import Returns

INTERVAL = 0.01


def test_a_moment_is_at_least_as_late_as_asked_for_and_exact_below_the_second() -> None:
    returns = Returns()
    assert returns.book("a", 5.0, 0.3, INTERVAL, 100) == 0.3
    assert returns.book("b", 5.0, 2.7, INTERVAL, 100) == 2.7


def test_no_window_is_told_to_more_than_fit_and_no_second_to_more_than_can_be_answered() -> None:
    returns = Returns()
    waits = [math.ceil(returns.book(str(number), 0.0, 0.0, INTERVAL, 5)) for number in range(50)]
    assert waits == sorted(waits)
    assert [waits.count(second) for second in range(1, 11)] == [5] * 10
    spread = Returns()
    booked = [now / 1000 + math.ceil(spread.book(str(now), now / 1000, 0.0, INTERVAL, 50)) for now in range(1000)]
    assert max(sum(second <= moment < second + 1 for moment in booked) for second in range(30)) <= 70


def test_of_a_slow_model_there_is_not_a_place_in_every_second() -> None:
    returns = Returns()
    waits = [math.ceil(returns.book(str(number), 0.0, 0.0, 2.0, 50)) for number in range(4)]
    assert all(later - earlier >= 2 for earlier, later in pairwise(waits))


def test_a_moment_counts_once_and_only_when_it_has_come() -> None:
    returns = Returns()
    returns.book("a", 0.0, 1.5, INTERVAL, 100)
    assert not returns.redeem("a", 1.4)
    assert not returns.redeem("b", 2.0)
    assert returns.redeem("a", 2.0)
    assert not returns.redeem("a", 2.0)


def test_who_comes_much_too_late_is_not_expected_any_more_and_nothing_is_kept() -> None:
    returns = Returns()
    for number in range(100):
        returns.book(str(number), 0.0, 0.0, INTERVAL, 10)
    assert returns.expected(0.0, 60.0) == 100
    assert not returns.redeem("0", 1000.0)
    assert returns.expected(1000.0, 60.0) == 0
    assert not returns._windows
    assert not returns._due
    assert not returns._spells


def test_places_are_kept_only_for_the_share_that_does_come_back() -> None:
    returns = Returns()
    for now in range(1000):
        returns.book(str(now), float(now), 1.0, INTERVAL, 10)
    returns.book("late", 2000.0, 1.0, INTERVAL, 10)
    assert returns.expected(2000.0, 5.0) < 0.2
