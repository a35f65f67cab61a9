from pathlib import Path

import httpx
import pytest

from emo_serve.api.wire.schemas import ModelDescription, ModelList
from tests.serving import in_process, settings_for
from tests.support import write_classifier

pytestmark = pytest.mark.anyio


async def test_models_lists_what_is_served_and_what_failed(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    write_classifier(tmp_path, version="2")
    write_classifier(tmp_path, "wrong", golden_shift=1.0)
    async with in_process(settings) as (client, _):
        listing = ModelList.model_validate_json((await client.get("/models")).content)
    entries = {(entry.name, entry.version): entry for entry in listing.models}
    assert set(entries) == {("toy-classifier", "1"), ("toy-classifier", "2"), ("toy-detector", "1")}
    assert [key for key, entry in entries.items() if entry.default] == [("toy-classifier", "2"), ("toy-detector", "1")]
    assert all(entry.ready and entry.labels == 3 and entry.input.width == 32 for entry in listing.models)
    (failure,) = listing.failures
    assert "wrong" in failure.path
    assert failure.reason


async def test_a_model_is_described_by_its_manifest_without_the_golden_pair(client: httpx.AsyncClient) -> None:
    response = await client.get("/models/toy-detector")
    description = ModelDescription.model_validate_json(response.content)
    assert description.labels == ["red", "green", "blue"]
    assert description.versions == ["1"]
    assert description.default
    assert description.manifest["preprocessing"]["mode"] == "stretch"
    assert "golden" not in description.manifest


@pytest.mark.parametrize("path", ["/models/nothing", "/models/toy-detector?version=2", "/models/..%2fetc"])
async def test_an_unknown_model_is_404(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("path", ["/models?name=x", "/models/toy-detector?versoin=1"])
async def test_an_unknown_parameter_is_422(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).json()["type"].endswith(":invalid-parameter")
