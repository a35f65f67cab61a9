from pathlib import Path

import httpx
import pytest

from tests.serving import in_process, settings_for
from tests.support import write_detector

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_a_healthy_process_is_live_and_ready(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200
    assert (await client.head(path)).status_code == 200


async def test_a_process_that_was_told_to_stop_is_live_but_not_ready(tmp_path: Path) -> None:
    async with in_process(settings_for(tmp_path)) as (client, services):
        services.drain.set()
        assert (await client.get("/livez")).status_code == 200
        response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["type"] == "urn:emo-serve:problem:shutting-down"


async def test_a_missing_default_keeps_the_process_from_being_ready_and_is_named(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, default_detect_model="broken")
    write_detector(tmp_path, "broken", golden_shift=1.0)
    async with in_process(settings) as (client, _):
        assert (await client.get("/livez")).status_code == 200
        response = await client.get("/readyz")
    assert response.status_code == 503
    assert "broken" in response.json()["detail"]


async def test_metrics_are_in_the_text_format_of_prometheus(client: httpx.AsyncClient) -> None:
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert 'emo_model_info{model="toy-classifier"' in response.text
