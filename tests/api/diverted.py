"""A classifier whose alias ``default`` is split or has a shadow."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx

from emo_serve.api.http.services import Services
from emo_serve.engine.execution.session import OpenSession, Session, open_session
from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.settings import Settings
from tests.engine.reconciling import NAME
from tests.serving import until
from tests.support import encode_image, plain, write_classifier

RED = encode_image(plain("red"))
HALVES = {"shares": {"1": 0.5, "2": 0.5}}
PINNED = {"default": "1"}
S = TypeVar("S", bound=Session)


def write_two_versions(root: Path) -> Path:
    """Two versions of a classifier: the second has its outputs and its labels turned, and is less sure."""
    write_classifier(root)
    write_classifier(root, version="2", turn=1)
    return root


def wrapping_second(wrap: Callable[[Session], S], wrapped: list[S]) -> OpenSession:
    """Opens sessions; those of the second version are wrapped, and listed."""

    def opened(artefact: Artefact, settings: Settings) -> Session:
        session = open_session(artefact, settings)
        if artefact.manifest.version == "2":
            wrapped.append(wrap(session))
            return wrapped[-1]
        return session

    return opened


async def asked(client: httpx.AsyncClient, path: str = "/classify", **headers: str) -> str:
    """The version that answered, rightly."""
    response = await client.post(path, content=RED, headers={"Content-Type": "image/png", **headers})
    assert response.status_code == 200, response.text
    assert response.json()["classifications"][0]["name"] == "red"
    version: str = response.json()["model"]["version"]
    return version


def metric(services: Services, name: str, **labels: str) -> float:
    return services.metrics.registry.get_sample_value(name, {"model": NAME, "alias": "default", **labels}) or 0.0


def copies(services: Services, outcome: str) -> float:
    return metric(services, "emo_shadow_copies_total", version="2", outcome=outcome)


async def copied(services: Services, outcome: str, count: int) -> None:
    """Wait until so many copies have ended so."""
    await until(lambda: copies(services, outcome) == count)
