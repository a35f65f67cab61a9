"""docker-compose.yml and deploy/k8s agree with the server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from emo_serve.settings import Settings, all_settings

ROOT = Path(__file__).parent.parent


def composed() -> tuple[dict[str, str], float]:
    """The settings of a replica, and the seconds it is given to stop."""
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["app"]
    return service["environment"], float(service["stop_grace_period"].removesuffix("s"))


def kubernetes() -> tuple[dict[str, str], float]:
    """The settings of a pod, and the seconds it is given to stop."""
    manifest = (ROOT / "deploy/k8s/base/deployment.yaml").read_text(encoding="utf-8")
    pod: dict[str, Any] = yaml.safe_load(manifest)["spec"]["template"]["spec"]
    variables = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    return variables, float(pod["terminationGracePeriodSeconds"])


@pytest.mark.parametrize("described", [composed, kubernetes])
def test_a_replica_is_given_settings_that_exist(described: Callable[[], tuple[dict[str, str], float]]) -> None:
    variables, _ = described()
    assert set(variables) <= {variable for variable, _ in all_settings()}


@pytest.mark.parametrize("described", [composed, kubernetes])
def test_a_replica_has_the_time_that_it_may_take_to_stop(
    described: Callable[[], tuple[dict[str, str], float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    variables, seconds = described()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.drain_delay_seconds > 0
    assert settings.drain_delay_seconds + 2 * settings.drain_seconds <= seconds


@pytest.mark.parametrize(
    ("manifest", "selector"), [("poddisruptionbudget", "selector"), ("networkpolicy", "podSelector")]
)
def test_what_protects_pods_selects_those_of_the_server_and_no_others(manifest: str, selector: str) -> None:
    spec = yaml.safe_load((ROOT / f"deploy/k8s/base/{manifest}.yaml").read_text(encoding="utf-8"))["spec"]
    assert spec[selector] == {"matchLabels": {"app.kubernetes.io/name": "emo-serve"}}


@pytest.mark.parametrize("dockerfile", ["Dockerfile", "docker/cuda.Dockerfile"])
def test_the_builder_gets_whatever_an_image_is_made_of(dockerfile: str) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split() if line.startswith("!")}
    text = (ROOT / dockerfile).read_text(encoding="utf-8").replace("\\\n", " ")
    copies = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY") and "--from" not in line]
    assert copies
    missing = {source for sources in copies for source in sources if not source.startswith("--")} - sent
    assert not missing
