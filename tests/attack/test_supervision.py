"""The scenarios, each with what it may cost the others."""

from collections.abc import Callable

import pytest

from tests.attack.supervision import Outcome, endless_self_test, hung_worker, replaced_worker


@pytest.mark.parametrize("scenario", [hung_worker, replaced_worker, endless_self_test])
def test_what_one_worker_or_one_version_does_costs_the_others_little(scenario: Callable[[], Outcome]) -> None:
    outcome = scenario()
    assert outcome.holds, outcome
