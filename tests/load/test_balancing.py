"""Simulated balancing: what retries and weights change."""

from bench.balancing import Replicas, simulate

ALIKE = Replicas((1.0, 1.0, 1.0), 0.03, 64)
ONE_SLOW = Replicas((1.0, 1.0, 0.3), 0.03, 64)


def test_where_the_least_loaded_replica_refuses_a_retry_elsewhere_finds_no_room() -> None:
    once, again = (simulate(policy, ALIKE, 1.2, 20_000) for policy in ("leastconn", "leastconn, retry"))
    assert abs(again.refused - once.refused) < 0.01
    assert once.sent == 1
    assert again.sent > 1.1


def test_what_is_refused_is_what_nobody_could_take() -> None:
    assert simulate("leastconn", ALIKE, 0.8, 20_000).refused == 0
    assert abs(simulate("leastconn", ALIKE, 1.2, 40_000).refused - (1 - 1 / 1.2)) < 0.02


def test_a_weight_in_proportion_to_the_speed_lets_all_wait_alike() -> None:
    plain, weighted = (simulate(policy, ONE_SLOW, 1.2, 20_000) for policy in ("leastconn", "weighted"))
    assert weighted.p99 < 0.4 * plain.p99
    assert weighted.p50 < 1.05 * plain.p50
