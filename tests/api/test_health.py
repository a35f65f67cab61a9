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


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/metrics", "/models", "/models/toy-classifier"])
async def test_who_only_wants_to_know_whether_a_page_is_there_gets_its_head(
    client: httpx.AsyncClient, path: str
) -> None:
    whole, head = await client.get(path), await client.head(path)
    assert whole.status_code == head.status_code == 200
    assert head.headers["content-type"] == whole.headers["content-type"]


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


async def test_requests_are_counted_by_route_and_class_of_status_and_never_by_what_a_client_made_up(
    tmp_path: Path,
) -> None:
    async with in_process(settings_for(tmp_path, max_request_bytes=100)) as (client, services):
        await client.post("/classify", content=b"no image", headers={"Content-Type": "image/png"})
        await client.post("/detect", content=bytes(101))  # refused before a route is looked for
        await client.post("/classify", headers={"X-Request-Timeout-Ms": "soon"})  # and by the door
        await client.get("/models/toy-classifier")
        await client.get("/models/made-up")
        await client.get("/made-up")
        await client.post("/made-up", content=bytes(101))
        await client.get("/classify")
        await client.head("/readyz")
        counted = {
            (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
            for metric in services.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "emo_http_request_seconds_count"
        }
    assert counted == {
        ("POST", "/classify", "4xx"): 2,
        ("POST", "/detect", "4xx"): 1,
        ("GET", "/models/{name}", "2xx"): 1,
        ("GET", "/models/{name}", "4xx"): 1,
        ("GET", "other", "4xx"): 1,
        ("POST", "other", "4xx"): 1,
        ("GET", "/classify", "4xx"): 1,
        ("HEAD", "/readyz", "2xx"): 1,
    }


async def test_metrics_are_in_the_text_format_of_prometheus(client: httpx.AsyncClient) -> None:
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert 'emo_model_info{model="toy-classifier"' in response.text
