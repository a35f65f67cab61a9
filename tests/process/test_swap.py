"""Versions are swapped under load; the long form is `make swap-test`."""

from pathlib import Path

import pytest

from tests.swapping import NAME, administer, load, swapping

SWAPS = 6


@pytest.mark.parametrize(("workers", "administered"), [(1, False), (2, True)], ids=["watched", "administered"])
def test_no_request_fails_or_is_mixed_up_while_versions_are_swapped(
    tmp_path: Path, workers: int, *, administered: bool
) -> None:
    with swapping(tmp_path, workers, administered=administered) as (server, swapper):
        with load(server) as tally:
            for _ in range(SWAPS):
                swapper.swap()
        assert tally.failed == []
        assert tally.mixed == []
        assert len(tally.versions) > SWAPS // 2
        assert bool(server.admin_port) == administered
        if administered:
            assert administer(server, "GET", "/models", "wrong").status_code == 401
            states = administer(server, "GET", "/models").json()["workers"]
            assert sorted(state["process"] for state in states) == sorted(server.workers())
            assert [entry["version"] for state in states for entry in state["models"]] == [str(SWAPS + 1)] * 2
            refused = administer(server, "DELETE", f"/models/{NAME}/{SWAPS + 1}")
            assert (refused.status_code, refused.headers["content-type"]) == (409, "application/problem+json")
