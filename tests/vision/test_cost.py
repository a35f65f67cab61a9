"""What decoding may cost, in CPU time: in proportion to pixels and bytes, or it is refused."""

import pytest

from tests.vision.expensive import ACCEPTED, REFUSED, SECONDS_A_MEGABYTE, SECONDS_A_MEGAPIXEL, Cost, cost, slowness

MARGIN = 2.0
"""A machine under load measures what others do as well."""

LEAST_SECONDS = 0.02
"""For what every picture costs, however small."""


@pytest.fixture(scope="module")
def scale() -> float:
    return slowness()


def bound(found: Cost) -> float:
    return LEAST_SECONDS + found.megapixels * SECONDS_A_MEGAPIXEL + found.megabytes * SECONDS_A_MEGABYTE


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_million_pixels_take_little_time_however_they_are_coded(name: str, scale: float) -> None:
    data = ACCEPTED[name]()
    tries = []
    for _ in range(3):
        tries.append(cost(data))
        assert tries[-1].megapixels, "it was refused"
        if tries[-1].seconds < MARGIN * scale * bound(tries[-1]):
            return
        scale = max(scale, slowness())  # a neighbour may have come since
    pytest.fail(f"{tries} are all above {MARGIN * scale * bound(tries[0]):.3f} s")


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_take_long_is_refused_before_it_does(name: str, scale: float) -> None:
    found = min(cost(REFUSED[name]()) for _ in range(2))
    assert not found.megapixels, "it was accepted"
    assert found.seconds < MARGIN * scale * 0.1
