"""The examples of deploy/ for platforms: the server is started, probed, asked and stopped as each would do it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml

from emo_serve.api.protocols.grpc_messages import HEALTH, message_class
from emo_serve.settings import Settings, all_settings
from tests.protocols.grpc_calls import SERVICE, InferResponse, encoded, outputs_of
from tests.protocols.pictures import GREEN, RED, text
from tests.serving import free_port, settings_for

DEPLOY = Path(__file__).parent.parent / "deploy"


@dataclass(frozen=True, slots=True)
class Container:
    """What a platform knows of a container; ``models`` is where it puts the repository."""

    arguments: list[str]
    variables: Mapping[str, str]
    port: int
    probes: list[tuple[int, str]]
    """Port and path of each; a path '' stands for gRPC's health check."""
    models: str
    seconds_to_stop: float


def read(path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))
    return content


def probes(container: Mapping[str, Any], port: int) -> list[tuple[int, str]]:
    """The probes of a container of Kubernetes; ``port`` is what they ask where they name none."""
    found = []
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(kind, {})
        if "grpc" in probe:
            found.append((probe["grpc"]["port"], ""))
        elif probe:
            found.append((probe["httpGet"].get("port", port), probe["httpGet"]["path"]))
    return found


def kserve(runtime: str) -> Container:
    (container,) = read(runtime)["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    (port,) = (entry["containerPort"] for entry in container["ports"])
    seconds = read("kserve/inferenceservice.yaml")["spec"]["predictor"]["terminationGracePeriodSeconds"]
    return Container(container["args"], variables, port, probes(container, port), "/mnt/models", seconds)


def azureml() -> Container:
    deployment = read("azureml/deployment.yaml")
    model, routes = deployment["model"], deployment["environment"]["inference_config"]
    models = f"/var/azureml-app/azureml-models/{model['name']}/{model['version']}/{Path(model['path']).name}"
    asked = [(routes[name]["port"], routes[name]["path"]) for name in ("readiness_route", "liveness_route")]
    return Container(["serve"], deployment["environment_variables"], routes["scoring_route"]["port"], asked, models, 60)


def cloudrun() -> Container:
    (container,) = read("cloudrun/service.yaml")["spec"]["template"]["spec"]["containers"]
    (port,) = (entry["containerPort"] for entry in container["ports"])
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    # What the platform sets by itself; the models are in the image.
    platform = {"PORT": str(port), "K_SERVICE": "emo-serve", "K_REVISION": "emo-serve-00001", "EMO_MODELS": "/models"}
    return Container(container["args"], variables | platform, port, probes(container, port), "/models", 10)


PLATFORMS: Mapping[str, Callable[[], Container]] = {
    "KServe": lambda: kserve("kserve/servingruntime.yaml"),
    "KServe, gRPC": lambda: kserve("kserve/servingruntime-grpc.yaml"),
    "Azure ML": azureml,
    "Cloud Run": cloudrun,
}


def ask(url: str, path: str, **request: Any) -> Any:  # noqa: ANN401  any JSON
    answer = httpx.post(url + path, timeout=60, **request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ask_kserve(url: str) -> None:
    entry = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text(RED)]}
    found = ask(url, "/v2/models/toy-classifier/infer", json={"inputs": [entry]})
    assert found["outputs"][0]["shape"][0] == 1
    first = ask(url, "/v1/models/toy-classifier:predict", json={"instances": [{"b64": text(RED)}]})
    assert first["predictions"][0]["classifications"][0]["name"] == "red"


def ask_grpc(url: str) -> None:
    with grpc.insecure_channel(url.removeprefix("http://")) as channel:
        answer = channel.unary_unary(f"/{SERVICE}/ModelInfer")(encoded(GREEN).SerializeToString(), timeout=60)
    assert outputs_of(InferResponse.FromString(answer))["scores"].shape[0] == 1


def ask_own(url: str) -> None:
    found = ask(url, "/classify", content=GREEN, headers={"content-type": "image/jpeg"})
    assert found["classifications"][0]["name"] == "green"


def passes(port: int, path: str) -> bool:
    """Whether a probe does."""
    if path:
        try:
            return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code == 200
        except httpx.TransportError:
            return False
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = channel.unary_unary(f"/{HEALTH}.Health/Check")(b"", timeout=5)
        except grpc.RpcError:
            return False
    return bool(message_class("HealthCheckResponse", HEALTH).FromString(answer).status == 1)


@pytest.mark.parametrize(
    ("platform", "request_"),
    [("KServe", ask_kserve), ("KServe, gRPC", ask_grpc), ("Azure ML", ask_own), ("Cloud Run", ask_own)],
)
def test_the_server_starts_answers_and_stops_as_the_platform_has_it(
    platform: str, request_: Callable[[str], None], tmp_path: Path
) -> None:
    container = PLATFORMS[platform]()
    settings_for(tmp_path)
    # Several servers of one machine cannot have the port that a container has for itself.
    ports = {str(port): str(free_port()) for port in {container.port, *(port for port, _ in container.probes), 8080}}
    places = ports | {container.models: str(tmp_path)}
    variables = {name: places.get(value, value) for name, value in container.variables.items()}
    assert str(tmp_path) in variables.values(), "nothing says where the models are"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EMO_")}
    command = [sys.executable, "-m", "emo_serve", *container.arguments]
    of_the_image = {"EMO_TUNE": "false", "EMO_WORKERS": "1"}  # there are as many workers as CPUs, and the limit is one
    with subprocess.Popen(command, env=environment | of_the_image | variables, text=True) as server:
        try:
            for port, path in container.probes:
                end = time.monotonic() + 120
                while not passes(int(ports[str(port)]), path):
                    assert server.poll() is None
                    assert time.monotonic() < end, (port, path)
                    time.sleep(0.1)
            request_(f"http://127.0.0.1:{ports[str(container.port)]}")
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
        finally:
            server.kill()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_its_settings_exist_and_leave_the_time_to_stop(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    container = PLATFORMS[platform]()
    own = {name: value for name, value in container.variables.items() if name.startswith("EMO_")}
    assert set(own) <= {variable for variable, _ in all_settings()}
    for name, value in container.variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.port == 8080
    assert settings.drain_delay_seconds + 2 * settings.drain_seconds <= container.seconds_to_stop


def test_requests_may_take_as_long_as_the_platform_lets_them() -> None:
    longest = Settings().request_timeout_seconds
    assert read("kserve/inferenceservice.yaml")["spec"]["predictor"]["timeout"] > longest
    assert read("azureml/deployment.yaml")["request_settings"]["request_timeout_ms"] > longest * 1000
    assert read("cloudrun/service.yaml")["spec"]["template"]["spec"]["timeoutSeconds"] > longest


def test_the_service_of_kserve_asks_for_what_the_runtime_offers() -> None:
    predictor, runtime = (
        read("kserve/inferenceservice.yaml")["spec"]["predictor"],
        read("kserve/servingruntime.yaml"),
    )
    assert predictor["model"]["runtime"] == runtime["metadata"]["name"]
    assert predictor["model"]["modelFormat"]["name"] in {
        entry["name"] for entry in runtime["spec"]["supportedModelFormats"]
    }
    assert predictor["model"]["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert predictor["enableServiceLinks"] is False
    assert json.loads(json.dumps(runtime)) == runtime, "a value is no JSON, as a number that YAML takes for a date"
