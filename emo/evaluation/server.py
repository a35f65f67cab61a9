"""A running server under evaluation, with a few concurrent requests."""

# Not emo_client: emo-serve[torch] cannot require a package that is installed from its folder, and an evaluation wants
# another patience. It waits minutes for a busy server, however often that refuses, and not at all for one that is not
# there; the client counts both as attempts. It also needs the manifest, which the client has no use for.

import http
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import httpx

from emo.evaluation.answers import Answer, of_document
from emo.evaluation.evaluated_model import LEAST_SCORE, Description, EvaluatedModel, digest_of, query_for
from emo.evaluation.images import Encoded
from emo_serve.manifest import DetectionDefaults, Preprocessing
from emo_serve.prefetch import prefetch

KEY_VARIABLE = "EVALUATE_API_KEY"
"""Environment variable with the API key; not ``EMO_…``, which a server would take for a setting."""
AT_A_TIME = 4
PATIENCE_SECONDS = 300.0
"""Seconds for which a request that a busy server refuses is retried."""
_TIMEOUT_SECONDS = 120.0
_BUSY = {http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.SERVICE_UNAVAILABLE}


def served_model(url: str, model: str | None, least_score: float = LEAST_SCORE) -> EvaluatedModel:
    """The ``model`` (a name, or name@version) of the server at ``url``; by default the only one that it serves.

    Raise ValueError if there is none, ConnectionError if the server does not answer.
    """
    with _client(url) as client:
        name, _, version = (model or _only_model(client)).partition("@")
        found = _request(client, "GET", f"/models/{name}", {"version": version} if version else {})
    manifest = found["manifest"]
    name = manifest["name"]  # as the server spells it
    description = Description(
        task=manifest["task"],
        labels=tuple(found["labels"]),
        rule=Preprocessing.model_validate(manifest["preprocessing"]),
        detection=DetectionDefaults.model_validate(manifest.get("detection", {})),
        architecture=manifest["card"]["architecture"],
        digest=digest_of(manifest["sha256"], manifest.get("groups")),
        groups=tuple(manifest["groups"]) if "groups" in manifest else None,
        least_score=least_score,
    )
    query = {"model": name, "version": manifest["version"], **query_for(description)}

    def predict_images(pictures: Iterable[Encoded]) -> Iterator[Answer]:
        with _client(url) as client:

            def answer(picture: Encoded) -> Answer:
                document = _request(client, "POST", f"/{description.task}", query, picture)
                return of_document(description.task, document)

            yield from prefetch(answer, pictures, AT_A_TIME)

    return EvaluatedModel(description, predict_images)


def _client(url: str) -> httpx.Client:
    key = os.environ.get(KEY_VARIABLE)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        return httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS)
    except httpx.InvalidURL as error:
        msg = f"{url}: {error}"
        raise ValueError(msg) from error


def _only_model(client: httpx.Client) -> str:
    served = [f"{entry['name']}@{entry['version']}" for entry in _request(client, "GET", "/models", {})["models"]]
    if len(served) == 1:
        return str(served[0])
    msg = f"{client.base_url} serves {', '.join(served) or 'no model'}: choose one with --model"
    raise ValueError(msg)


def _request(
    client: httpx.Client, method: str, path: str, query: dict[str, Any], picture: Encoded | None = None
) -> Any:  # noqa: ANN401  # JSON
    """The JSON of the answer; waits and retries if the server says when to come back."""
    content = picture.data if picture else None
    headers = {"Content-Type": "application/octet-stream"} if picture else {}
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            response = client.request(method, path, params=query, content=content, headers=headers)
            document = response.json()
        except httpx.HTTPError as error:
            msg = f"{client.base_url}: {error or type(error).__name__}"
            raise ConnectionError(msg) from error
        except ValueError as error:
            msg = f"{response.url}: status {response.status_code}, and no JSON; is it emo-serve?"
            raise ValueError(msg) from error
        if response.is_success:
            return document
        wait = _seconds_to_wait(response, document)
        if wait is None or time.monotonic() + wait > end:
            place = f"{picture.key}: " if picture else ""
            reason = document.get("detail", "") if isinstance(document, dict) else ""
            hint = f" ({KEY_VARIABLE} holds the key)" if response.status_code == http.HTTPStatus.UNAUTHORIZED else ""
            msg = f"{place}{client.base_url} answers {response.status_code}: {reason}{hint}"
            raise ValueError(msg)
        time.sleep(wait)


def _seconds_to_wait(response: httpx.Response, document: Any) -> float | None:  # noqa: ANN401  # JSON
    """When to retry a request to a busy server; None if it is not busy or does not say."""
    if response.status_code not in _BUSY or "Retry-After" not in response.headers:
        return None
    with suppress(KeyError, TypeError, ValueError):
        return float(document["retry_after_ms"]) / 1000
    with suppress(ValueError):
        return float(response.headers["Retry-After"])
    return None
