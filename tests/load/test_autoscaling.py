"""The simulated autoscaler does what Kubernetes documents, and the simulated replicas what a queue does."""

import random
from itertools import pairwise

import pytest

from bench.autoscaling import (
    CROWD_AT,
    DAY_SECONDS,
    Autoscaler,
    Machine,
    Policy,
    Replica,
    arrivals,
    rate_at,
    simulate,
)

MACHINE = Machine(service=0.1, start=15, deadline=10)


def replicas(count: int, age: float = 0.0, use: float = 0.0) -> list[Replica]:
    """So many that tell this age of their queue, in seconds, and this use of their core, in per cent."""
    made = [Replica(0.0) for _ in range(count)]
    for replica in made:
        replica.ages.append(age)
        replica.work.extend((0.0, use / 100 * 5))
    return made


@pytest.mark.parametrize(
    ("age", "use", "wanted"),
    [
        (0.0, 84, 4),  # within a tenth of the target
        (0.0, 120, 6),  # 4 x 120 / 80
        (1.0, 80, 8),  # 4 x 1.0 / 0.5
        (5.0, 100, 8),  # not more than twice as many at once
    ],
)
def test_the_metric_that_wants_most_replicas_decides(age: float, use: float, wanted: int) -> None:
    assert Autoscaler(Policy("shipped"), 3, 24).decide(60.0, replicas(4, age, use), 4) == wanted


def test_a_replica_goes_when_the_load_was_lower_for_long_enough_and_one_a_minute() -> None:
    scaler = Autoscaler(Policy("shipped", calm=300), 3, 24)
    assert scaler.decide(0.0, replicas(8, use=80), 8) == 8
    total, at = 8, []
    for now in range(15, 600, 15):
        fewer = scaler.decide(float(now), replicas(total, use=20), total)
        if fewer < total:
            at.append(now)
        total = fewer
    assert at[0] > 300
    assert all(later - earlier >= 60 for earlier, later in pairwise(at))
    assert total >= 3


def test_requests_of_a_day_have_the_mean_rate_and_a_crowd() -> None:
    mean = 0.5
    moments = list(arrivals(random.Random(3), mean, 0, DAY_SECONDS))
    expected = sum(rate_at(second, mean) for second in range(DAY_SECONDS))
    assert len(moments) == pytest.approx(expected, rel=0.03)
    assert moments == sorted(moments)
    assert rate_at(CROWD_AT + 60, mean) == pytest.approx(3 * rate_at(CROWD_AT - 60, mean), rel=0.01)


def test_too_few_replicas_refuse_and_enough_of_them_do_not() -> None:
    hours = (14.9, 15.1)
    few = simulate(MACHINE, Policy("few", fixed=2), 10, hours, least=2, most=2)
    enough = simulate(MACHINE, Policy("enough", fixed=12), 10, hours, least=12, most=12)
    assert few.refused > 0
    assert few.quantile(0.99) > 5
    assert enough.refused == 0
    assert enough.quantile(0.99) < 0.5
    assert enough.requests == sum(enough.times.values())


def test_an_autoscaler_costs_less_than_enough_for_the_crowd_and_loses_less_than_too_few() -> None:
    hours = (14.9, 15.4)
    scaled = simulate(MACHINE, Policy("shipped"), 10, hours, least=2, most=24)
    few = simulate(MACHINE, Policy("few", fixed=2), 10, hours, least=2, most=2)
    enough = simulate(MACHINE, Policy("enough", fixed=scaled.most), 10, hours, least=2, most=24)
    assert few.refused > scaled.refused
    assert scaled.replica_seconds < enough.replica_seconds
