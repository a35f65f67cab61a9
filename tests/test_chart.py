"""The Helm chart and the manifests of kustomize are the same objects, and its values are described."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from emo_serve.metrics.definitions import Metrics
from emo_serve.settings import all_settings
from tests.charts import CHART, DEPLOY, HELM, by_kind, given, needs_helm, rendered

BASE = DEPLOY / "k8s" / "base"
OVERLAYS = sorted(path.name for path in (DEPLOY / "k8s" / "overlays").iterdir())
TEMPLATES = "".join(path.read_text(encoding="utf-8") for path in sorted((CHART / "templates").iterdir()))


def loaded(path: Path) -> Any:  # noqa: ANN401 - YAML is anything
    return yaml.safe_load(path.read_text(encoding="utf-8"))


VALUES: dict[str, Any] = loaded(CHART / "values.yaml")
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
OPEN = ("settings", "resources", "affinity", "nodeSelector", "podAnnotations", "labels", "annotations")
"""Values whose members the user names."""


def paths(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted names of all values."""
    for name, value in values.items():
        yield prefix + name
        if isinstance(value, dict) and name not in OPEN:
            yield from paths(value, f"{prefix}{name}.")


def described(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted names of all properties; every object names its own and allows no other."""
    assert schema["additionalProperties"] is False, prefix
    for name, member in schema["properties"].items():
        yield prefix + name
        if "properties" in member:
            yield from described(member, f"{prefix}{name}.")


def keys(value: object) -> Iterator[str]:
    """The keys of all mappings in a document."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield key
            yield from keys(member)
    elif isinstance(value, list):
        for member in value:
            yield from keys(member)


# ---- without Helm ----


def test_the_schema_describes_every_value_and_no_other() -> None:
    assert set(described(SCHEMA)) - {"global"} == set(paths(VALUES))


def test_the_templates_use_every_value_and_no_other() -> None:
    used = set(re.findall(r"\.Values\.([\w.]+)", TEMPLATES))
    names = set(paths(VALUES))
    assert used <= names
    assert {name for name in names if not any(other.startswith(name + ".") for other in names)} <= used


def test_the_values_are_those_of_the_base() -> None:
    deployment = loaded(BASE / "deployment.yaml")["spec"]
    pod = deployment["template"]["spec"]
    (server,) = pod["containers"]
    assert VALUES["replicas"] == deployment["replicas"]
    assert VALUES["settings"] == {variable["name"]: variable["value"] for variable in server["env"]}
    assert VALUES["resources"] == server["resources"]
    assert VALUES["terminationGracePeriodSeconds"] == pod["terminationGracePeriodSeconds"]
    spread = [
        {name: value for name, value in constraint.items() if name not in ("labelSelector", "matchLabelKeys")}
        for constraint in pod["topologySpreadConstraints"]
    ]
    assert VALUES["topologySpreadConstraints"] == spread
    (port,) = loaded(BASE / "service.yaml")["spec"]["ports"]
    assert VALUES["service"]["port"] == port["port"]


@pytest.mark.parametrize("manifest", [path.stem for path in sorted(BASE.glob("[!k]*.yaml"))])
def test_a_template_has_the_kind_and_the_keys_of_the_manifest(manifest: str) -> None:
    document = loaded(BASE / f"{manifest}.yaml")
    template = (CHART / "templates" / f"{manifest}.yaml").read_text(encoding="utf-8")
    assert f"\nkind: {document['kind']}\n" in template
    words = set(re.findall(r"[\w./-]+(?=:)", template + (CHART / "values.yaml").read_text(encoding="utf-8")))
    words |= set(re.findall(r"[\w./-]+(?=:)", (CHART / "templates/_helpers.tpl").read_text(encoding="utf-8")))
    assert set(keys(document)) <= words


def test_autoscalers_ask_for_metrics_that_there_are() -> None:
    manifests = TEMPLATES + "".join(path.read_text(encoding="utf-8") for path in DEPLOY.glob("k8s/overlays/*/*.yaml"))
    asked = set(re.findall(r"\bemo_\w+", manifests))
    assert asked == {"emo_queue_age_seconds"}
    assert asked <= {metric.name for metric in Metrics().registry.collect()}


def test_settings_in_templates_and_examples_exist() -> None:
    examples = "".join(path.read_text(encoding="utf-8") for path in (DEPLOY / "helm" / "examples").iterdir())
    named = set(re.findall(r"\bEMO_[A-Z0-9_]*[A-Z0-9]\b", TEMPLATES + examples)) - {"EMO_SERVE_PORT"}
    assert named <= {variable for variable, _ in all_settings()}


def test_settings_that_the_chart_makes_are_no_values() -> None:
    made = set(re.findall(r"- name: (EMO_\w+)", TEMPLATES))
    assert made <= set(SCHEMA["properties"]["settings"]["propertyNames"]["not"]["enum"])


# ---- with Helm ----

KUBECTL = shutil.which("kubectl")
BUILD = [kustomize, "build"] if (kustomize := shutil.which("kustomize")) else [KUBECTL or "", "kustomize"]
needs_both = pytest.mark.skipif(
    not HELM or not BUILD[0],
    reason="NOT COMPARED WITH deploy/k8s: needs helm and kustomize on PATH; `make helm-check` demands them",
)


def built(folder: str) -> dict[str, Any]:
    """What kustomize makes of a folder of deploy/k8s, without claims, which the chart leaves to the user."""
    command = [*BUILD, str(DEPLOY / "k8s" / folder)]
    objects = by_kind(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    objects.pop("PersistentVolumeClaim", None)
    return objects


@needs_both
def test_without_values_the_chart_renders_the_base() -> None:
    assert rendered() == built("base")


@needs_both
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_with_the_example_of_its_name_the_chart_renders_an_overlay(overlay: str) -> None:
    assert rendered("--values", str(DEPLOY / "helm" / "examples" / f"{overlay}.yaml")) == built(f"overlays/{overlay}")


@needs_helm
def test_another_release_has_names_and_selectors_of_its_own() -> None:
    objects = rendered(release="second")
    assert {document["metadata"]["name"] for document in objects.values()} == {"second-emo-serve"}
    selector = {"app.kubernetes.io/name": "emo-serve", "app.kubernetes.io/instance": "second"}
    assert objects["Service"]["spec"]["selector"] == selector
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == selector
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == selector
    assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == selector


@needs_helm
def test_keys_and_token_are_files_of_secrets_that_only_the_server_reads() -> None:
    pod = rendered("--values", str(DEPLOY / "helm/examples/closed.yaml"))["Deployment"]["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    variables = {variable["name"]: variable["value"] for variable in server["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in server["volumeMounts"]}
    assert variables["EMO_API_KEYS_FILE"] == f"{mounts['api-keys']}/keys"
    assert variables["EMO_ADMIN_TOKEN_FILE"] == f"{mounts['admin']}/token"
    modes = {volume["name"]: volume["secret"]["defaultMode"] for volume in pod["volumes"] if "secret" in volume}
    assert modes == {"api-keys": 0o440, "admin": 0o440}


@needs_helm
@pytest.mark.parametrize("source", ["oci", "init"])
def test_models_of_an_image_are_where_the_server_looks(source: str) -> None:
    values = str(DEPLOY / "helm" / "examples" / f"models-{source}.yaml")
    pod = rendered("--values", values)["Deployment"]["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "models"]
    assert set(volume) - {"name"} == {"image" if source == "oci" else "emptyDir"}
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in pod["containers"][0]["volumeMounts"]
    for container in pod.get("initContainers", []):
        assert container["securityContext"] == pod["containers"][0]["securityContext"]


@needs_helm
def test_the_policy_lets_in_whom_a_load_balancer_serves_and_the_agent_check() -> None:
    ranges = "networkPolicy.cidrs={192.0.2.0/24,2001:db8::/32}"
    objects = rendered(*given("service.type=LoadBalancer", ranges, "settings.EMO_AGENT_PORT=8002"))
    (rule,) = objects["NetworkPolicy"]["spec"]["ingress"]
    assert [peer["ipBlock"]["cidr"] for peer in rule["from"] if "ipBlock" in peer] == ["192.0.2.0/24", "2001:db8::/32"]
    assert rule["ports"] == [{"port": "http"}, {"port": 8002}]
