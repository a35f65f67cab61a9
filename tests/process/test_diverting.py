"""Aliases are split, shadowed and promoted under load; the long form is `make swap-test`."""

from pathlib import Path

import pytest

from tests.diverting import copies, diverting, take_steps
from tests.swapping import load


@pytest.mark.parametrize(("workers", "administered"), [(1, False), (2, True)], ids=["watched", "administered"])
def test_no_request_fails_or_is_mixed_up_while_splits_and_shadows_come_and_go(
    tmp_path: Path, workers: int, *, administered: bool
) -> None:
    with diverting(tmp_path, workers, administered=administered) as (server, way):
        with load(server) as tally:
            take_steps(server, tally, way)
        assert tally.failed == []
        assert tally.mixed == []
        assert copies(server).get("failed", 0) == 0
