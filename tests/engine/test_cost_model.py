import math

import pytest

from emo_serve.engine.scheduling.cost_model import CostModel

ON_A_CPU = {1: 0.006, 2: 0.0118, 4: 0.025}
ON_AN_ACCELERATOR = {1: 0.004, 4: 0.005, 16: 0.008}


def test_what_was_not_measured_lies_between_what_was() -> None:
    costs = CostModel(1, ON_AN_ACCELERATOR)
    assert costs.run_seconds(4) == 0.005
    assert costs.run_seconds(10) == pytest.approx(0.0065)
    assert costs.run_seconds(32) == pytest.approx(0.016)
    assert CostModel(1).run_seconds(3) == 0


def test_runs_move_the_estimate_of_their_size() -> None:
    costs = CostModel(1, {1: 0.001, 2: 0.002})
    for _ in range(100):
        costs.ran(2, 0.010)
    assert costs.run_seconds(2) == pytest.approx(0.010, rel=0.01)
    assert costs.run_seconds(1) == 0.001


def test_a_fuller_batch_pays_on_an_accelerator_and_not_on_a_cpu() -> None:
    assert CostModel(1, ON_A_CPU).gain(1) == 0
    assert CostModel(1, ON_AN_ACCELERATOR).gain(1) == pytest.approx(0.004 + 0.004 - 0.004 - 0.001 / 3)
    assert not CostModel(2, ON_A_CPU, max_batch_size=4).batches_pay
    assert CostModel(1, ON_AN_ACCELERATOR, max_batch_size=16).batches_pay
    assert not CostModel(1, ON_AN_ACCELERATOR, max_batch_size=1).batches_pay


def test_whether_batches_pay_does_not_change_with_the_load() -> None:
    costs = CostModel(1, ON_A_CPU, max_batch_size=2)
    for _ in range(100):
        costs.ran(1, 2 * ON_A_CPU[1])  # while others compute too; no batch is met meanwhile
    assert not costs.batches_pay


def test_without_a_measurement_at_start_runs_tell_whether_batches_pay() -> None:
    costs = CostModel(1, max_batch_size=2)
    assert costs.batches_pay
    costs.ran(1, 0.010)
    costs.ran(2, 0.019)
    assert not costs.batches_pay


def test_a_size_never_seen_is_tried() -> None:
    assert CostModel(1).gain(1) == math.inf
    assert CostModel(1, ON_A_CPU).gain(4) == math.inf
    assert CostModel(1, ON_A_CPU, max_batch_size=8).batches_pay


def test_the_time_between_answers_is_that_in_a_slot_divided_by_the_slots() -> None:
    costs = CostModel(2)
    assert (costs.interval, costs.slot_seconds) == (0, 0)
    for _ in range(200):
        costs.answered(0.030, 3)
    assert costs.interval == pytest.approx(0.010)
    assert costs.slot_seconds == pytest.approx(0.030)


def test_a_measurement_at_start_gives_the_first_prediction() -> None:
    costs = CostModel(2, {1: 0.006, 2: 0.010})
    assert costs.interval == pytest.approx(0.0025)
    assert costs.slot_seconds == 0.006
    costs.answered(0.020, 2)  # with its decoding
    assert (costs.interval, costs.slot_seconds) == (0.010, 0.020)
