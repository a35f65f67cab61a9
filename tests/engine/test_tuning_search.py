from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from emo_serve.engine.tuning.search import Measurement, Setting, Space, Tuning, choose, row_of, search, sweep
from emo_serve.settings import Batching, SessionOptions, Settings

THROUGHPUT = Space("throughput", cores=4, instances=None, intra_op_threads=None, max_batch_size=None)
GPU = replace(THROUGHPUT, provider="cuda", intra_op_threads=1)
LATENCY = replace(THROUGHPUT, goal="latency")
PLENTY_SECONDS = 1000.0


class FakeMachine:
    """Knows what a run costs without running anything; each measurement takes as long, on a clock of its own."""

    def __init__(self, seconds: Callable[[Setting], float]) -> None:
        self.now = 0.0
        self.asked: list[tuple[Setting, int]] = []
        self._seconds = seconds

    def measure(self, setting: Setting, callers: int) -> float:
        seconds = self._seconds(setting)
        self.asked.append((setting, callers))
        self.now += seconds
        return seconds

    def search(self, space: Space, seconds: float = PLENTY_SECONDS) -> Tuning:
        table = search(space, self.measure, seconds, lambda: self.now)
        return Tuning(choose(table, space), table)

    @property
    def settings(self) -> set[Setting]:
        return {setting for setting, _ in self.asked}


def like_a_cpu(setting: Setting) -> float:
    """Threads help little, batches nothing, and large ones harm."""
    an_image = 0.01 * (1.0, 1.0, 1.2, 1.5, 1.5, 1.5)[setting.max_batch_size.bit_length() - 1]
    return setting.max_batch_size * an_image / (1 + 0.3 * (setting.intra_op_threads - 1))


def like_an_accelerator(setting: Setting) -> float:
    """A batch costs hardly more than an image, and one run at a time is all it can do."""
    return setting.instances * (0.01 + 0.0001 * setting.max_batch_size)


def rows(*measured: tuple[int, int, int, float]) -> list[Measurement]:
    """(instances, threads, batch size, seconds)."""
    return [Measurement(Setting(*numbers), numbers[0], seconds) for *numbers, seconds in measured]


# ---- what may be measured --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 6, 64])
def test_no_shape_needs_more_than_the_cores_and_the_first_uses_all_with_one_thread_a_run(cores: int) -> None:
    shapes = replace(THROUGHPUT, cores=cores).shapes()
    assert shapes[0] == (cores, 1)
    assert (1, cores) in shapes
    assert len(set(shapes)) == len(shapes)
    assert all(instances * threads <= cores for instances, threads in shapes)
    assert all(a * b >= c * d for (a, b), (c, d) in pairwise(shapes))


def test_on_one_core_only_the_batch_size_is_open() -> None:
    assert replace(THROUGHPUT, cores=1).shapes() == [(1, 1)]
    assert replace(THROUGHPUT, cores=1).batch_sizes() == [1, 2, 4, 8, 16, 32]


def test_what_the_operator_has_set_is_fixed_even_beyond_the_cores() -> None:
    assert replace(THROUGHPUT, instances=2).shapes() == [(2, 2), (2, 1)]
    assert replace(THROUGHPUT, intra_op_threads=2).shapes() == [(2, 2), (1, 2)]
    assert replace(THROUGHPUT, instances=9).shapes() == [(9, 1)]
    assert replace(THROUGHPUT, instances=3, intra_op_threads=8).shapes() == [(3, 8)]
    assert replace(THROUGHPUT, max_batch_size=6).batch_sizes() == [6]


def test_without_tuning_the_defaults_stand_beside_what_is_set() -> None:
    assert THROUGHPUT.untuned() == Setting(instances=4, intra_op_threads=1, max_batch_size=2)
    fixed = Space("latency", cores=4, instances=3, intra_op_threads=5, max_batch_size=7)
    assert fixed.untuned() == Setting(3, 5, 7)


def test_a_setting_fills_the_settings_that_it_was_searched_for() -> None:
    settings = Settings(batching=Batching(max_queue_size=9), session=SessionOptions(intra_op_threads=2))
    space = Space.of(settings, cores=4)
    assert space == replace(THROUGHPUT, intra_op_threads=2)
    applied = Setting(2, 2, 8).applied_to(settings)
    assert applied.batching == Batching(max_queue_size=9, max_batch_size=8, instances=2)
    assert applied.session == SessionOptions(intra_op_threads=2)
    assert Space.of(applied, cores=1).untuned() == Setting(2, 2, 8)


# ---- what is chosen --------------------------------------------------------------------------------------------------


def test_throughput_takes_the_most_images_a_second() -> None:
    table = rows((4, 1, 1, 0.010), (4, 1, 2, 0.018), (4, 1, 4, 0.040), (1, 4, 1, 0.004))
    assert choose(table, THROUGHPUT) == Setting(4, 1, 2)


def test_latency_takes_the_shortest_run_of_one_image() -> None:
    table = [Measurement(Setting(*shape, 1), 1, seconds) for shape, seconds in (((4, 1), 0.010), ((1, 4), 0.004))]
    assert choose(table, LATENCY) == Setting(1, 4, 1)
    assert choose(table, replace(LATENCY, max_batch_size=8)) == Setting(1, 4, 8)


def test_of_equally_good_settings_the_smaller_batch_wins_then_the_fewer_threads() -> None:
    assert choose(rows((4, 1, 1, 0.0103), (4, 1, 8, 0.080)), THROUGHPUT) == Setting(4, 1, 1)
    assert choose(rows((4, 1, 1, 0.0105), (4, 1, 8, 0.080)), THROUGHPUT) == Setting(4, 1, 8)
    assert choose(rows((4, 1, 1, 0.010), (2, 1, 1, 0.005), (2, 2, 1, 0.005)), THROUGHPUT) == Setting(2, 1, 1)


def test_a_fixed_batch_size_is_judged_at_that_size() -> None:
    table = rows((4, 1, 8, 0.080), (1, 4, 8, 0.015), (4, 1, 1, 0.001))
    assert choose(table, replace(THROUGHPUT, max_batch_size=8)) == Setting(1, 4, 8)


def test_batching_learns_what_each_size_costs_at_the_chosen_shape_only() -> None:
    table = rows((4, 1, 1, 0.010), (4, 1, 2, 0.018), (1, 4, 1, 0.004))
    assert Tuning(Setting(4, 1, 2), tuple(table)).batch_seconds == {1: 0.010, 2: 0.018}
    assert Tuning(Setting(4, 1, 2)).batch_seconds == {}


# ---- what is measured ------------------------------------------------------------------------------------------------


def test_larger_batches_are_tried_until_they_do_not_pay() -> None:
    machine = FakeMachine(like_a_cpu)
    assert machine.search(THROUGHPUT).setting == Setting(4, 1, 1)
    assert max(setting.max_batch_size for setting in machine.settings) == 4


def test_two_sizes_in_a_row_that_are_a_little_worse_are_enough() -> None:
    machine = FakeMachine(
        lambda setting: 0.01 * setting.max_batch_size ** (1.02 if setting.max_batch_size > 2 else 0.9)
    )
    assert machine.search(replace(THROUGHPUT, cores=1)).setting == Setting(1, 1, 2)
    assert max(setting.max_batch_size for setting in machine.settings) == 8


def test_an_accelerator_gets_one_instance_and_large_batches() -> None:
    machine = FakeMachine(like_an_accelerator)
    tuning = machine.search(THROUGHPUT)
    assert tuning.setting == Setting(1, 1, 32)
    assert list(tuning.batch_seconds) == [1, 2, 4, 8, 16, 32]


def test_throughput_is_measured_with_all_instances_at_work_and_latency_with_one_caller() -> None:
    machine = FakeMachine(like_a_cpu)
    machine.search(THROUGHPUT)
    assert all(callers == setting.instances for setting, callers in machine.asked)
    machine = FakeMachine(like_a_cpu)
    assert machine.search(LATENCY).setting == Setting(1, 4, 1)
    assert {callers for _, callers in machine.asked} == {1}


def test_only_what_is_free_is_searched() -> None:
    machine = FakeMachine(like_a_cpu)
    fixed = replace(THROUGHPUT, intra_op_threads=2, max_batch_size=6)
    tuning = machine.search(fixed)
    assert tuning.setting == Setting(2, 2, 6)
    assert {setting.intra_op_threads for setting in machine.settings} == {2}
    assert sorted(tuning.batch_seconds) == [1, 2, 4, 6]  # the smaller ones for their cost alone
    machine = FakeMachine(like_a_cpu)
    assert machine.search(replace(LATENCY, instances=1, max_batch_size=4)).setting == Setting(1, 4, 4)
    assert {setting.instances for setting in machine.settings} == {1}


@pytest.mark.parametrize("slowness", [1, 10, 40])
def test_the_search_ends_in_time_and_has_measured_something(slowness: int) -> None:
    machine = FakeMachine(lambda setting: slowness * like_a_cpu(setting))
    tuning = machine.search(THROUGHPUT, seconds=1.0)
    assert machine.now <= 1.0
    assert tuning.setting in machine.settings


def test_a_model_that_is_too_slow_for_the_time_is_measured_once() -> None:
    machine = FakeMachine(lambda _: 30.0)
    assert machine.search(THROUGHPUT, seconds=1.0).setting == Setting(4, 1, 1)
    assert len(machine.asked) == 1


def test_a_larger_batch_that_was_disturbed_once_gets_a_second_look() -> None:
    disturbed: set[Setting] = set()

    def seconds(setting: Setting) -> float:
        first = setting not in disturbed
        disturbed.add(setting)
        return like_an_accelerator(setting) * (5 if first and setting.max_batch_size == 8 else 1)

    assert FakeMachine(seconds).search(replace(THROUGHPUT, cores=1)).setting == Setting(1, 1, 32)


@pytest.mark.parametrize("space", [THROUGHPUT, replace(THROUGHPUT, cores=1), replace(THROUGHPUT, cores=4, instances=1)])
def test_disturbances_of_the_first_measurements_decide_nothing(space: Space) -> None:
    first = len(space.shapes())
    machine = FakeMachine(lambda setting: like_a_cpu(setting) * (2 if len(machine.asked) < first else 1))
    tuning = machine.search(space)
    assert tuning.setting == FakeMachine(like_a_cpu).search(space).setting
    assert tuning.batch_seconds[1] == like_a_cpu(tuning.setting)


@pytest.mark.parametrize("rhythm", [2, 3, 5])
def test_a_machine_that_others_use_now_and_then_does_not_make_batches_pay(rhythm: int) -> None:
    machine = FakeMachine(lambda setting: like_a_cpu(setting) * (1.8 if len(machine.asked) % rhythm == 0 else 1))
    tuning = machine.search(replace(THROUGHPUT, cores=1))
    assert tuning.setting == Setting(1, 1, 1)
    for size, measured in tuning.batch_seconds.items():
        assert measured == pytest.approx(like_a_cpu(Setting(1, 1, size)))


def test_on_a_gpu_at_most_two_instances_and_large_batches_are_tried_whatever_the_cores() -> None:
    for cores in (1, 16):
        space = Space.of(Settings(session=SessionOptions(provider="cuda")), cores)
        assert space.shapes() == [(2, 1), (1, 1)]
        assert space.untuned() == Setting(2, 1, 16)
    machine = FakeMachine(like_an_accelerator)
    assert machine.search(GPU).setting == Setting(1, 1, 32)
    asked = Settings(session=SessionOptions(provider="cuda"), batching=Batching(instances=4, max_batch_size=8))
    assert Space.of(asked, 16).untuned() == Setting(4, 1, 8)


def test_the_full_sweep_measures_every_setting_and_tells_how_far_it_is() -> None:
    machine = FakeMachine(like_a_cpu)
    told: list[tuple[int, int]] = []
    table = sweep(THROUGHPUT, machine.measure, lambda done, total: told.append((done, total)))
    assert len(table) == len(THROUGHPUT.shapes()) * len(THROUGHPUT.batch_sizes())
    assert told[0][0] == 0
    assert told[-1] == (len(machine.asked), len(machine.asked))
    assert choose(table, THROUGHPUT) == Setting(4, 1, 1)


def test_the_row_that_speaks_for_a_setting_is_found() -> None:
    table = rows((4, 1, 1, 0.010), (4, 1, 2, 0.018), (1, 4, 1, 0.004))
    assert row_of(table, Setting(4, 1, 2), THROUGHPUT) == table[1]
    assert row_of(table, Setting(1, 4, 8), replace(LATENCY, max_batch_size=8)) == table[2]
