import math
from itertools import pairwise

from emo_serve.engine.scheduling.retry_schedule import RetrySchedule

INTERVAL = 0.01


def test_a_moment_is_at_least_as_late_as_asked_for_and_exact_below_the_second() -> None:
    schedule = RetrySchedule()
    assert schedule.reserve("a", 5.0, 0.3, INTERVAL, 100) == 0.3
    assert schedule.reserve("b", 5.0, 2.7, INTERVAL, 100) == 2.7


def test_no_window_is_reserved_by_more_than_fit_and_no_second_by_more_than_can_be_answered() -> None:
    schedule = RetrySchedule()
    waits = [math.ceil(schedule.reserve(str(number), 0.0, 0.0, INTERVAL, 5)) for number in range(50)]
    assert waits == sorted(waits)
    assert [waits.count(second) for second in range(1, 11)] == [5] * 10
    spread = RetrySchedule()
    reserved = [now / 1000 + math.ceil(spread.reserve(str(now), now / 1000, 0.0, INTERVAL, 50)) for now in range(1000)]
    assert max(sum(second <= moment < second + 1 for moment in reserved) for second in range(30)) <= 70


def test_of_a_slow_model_there_is_not_a_place_in_every_second() -> None:
    schedule = RetrySchedule()
    waits = [math.ceil(schedule.reserve(str(number), 0.0, 0.0, 2.0, 50)) for number in range(4)]
    assert all(later - earlier >= 2 for earlier, later in pairwise(waits))


def test_a_moment_counts_once_and_only_when_it_has_come() -> None:
    schedule = RetrySchedule()
    schedule.reserve("a", 0.0, 1.5, INTERVAL, 100)
    assert not schedule.claim("a", 1.4)
    assert not schedule.claim("b", 2.0)
    assert schedule.claim("a", 2.0)
    assert not schedule.claim("a", 2.0)


def test_who_comes_much_too_late_is_not_expected_any_more_and_nothing_is_kept() -> None:
    schedule = RetrySchedule()
    for number in range(100):
        schedule.reserve(str(number), 0.0, 0.0, INTERVAL, 10)
    assert schedule.expected(0.0, 60.0) == 100
    assert not schedule.claim("0", 1000.0)
    assert schedule.expected(1000.0, 60.0) == 0
    assert not schedule._windows
    assert not schedule._due
    assert not schedule._periods


def test_places_are_kept_only_for_the_share_that_does_come_back() -> None:
    schedule = RetrySchedule()
    for now in range(1000):
        schedule.reserve(str(now), float(now), 1.0, INTERVAL, 10)
    schedule.reserve("late", 2000.0, 1.0, INTERVAL, 10)
    assert schedule.expected(2000.0, 5.0) < 0.2
