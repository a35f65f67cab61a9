"""deploy/kserve says what KServe's own types know."""

import re
from pathlib import Path
from typing import Any

import kubernetes.client
import pytest
import yaml
from kserve import models

from tests.helpers.shipped import ROOT

MANIFESTS = sorted((ROOT / "deploy/kserve").glob("*.yaml"))
TYPES = {"ServingRuntime": "V1alpha1ServingRuntime", "InferenceService": "V1beta1InferenceService"}
PLAIN = {"str": str, "int": int, "bool": bool, "object": object}


def check(kind: str, value: Any, place: str) -> None:  # noqa: ANN401  any YAML
    """Fail where ``value`` is not of the type, or has a member that it does not have."""
    if inner := re.fullmatch(r"list\[(.+)\]", kind):
        assert isinstance(value, list), place
        for number, entry in enumerate(value):
            check(inner[1], entry, f"{place}[{number}]")
    elif inner := re.fullmatch(r"dict\(str, (.+)\)|dict\[str, (.+)\]", kind):
        assert isinstance(value, dict), place
        for name, entry in value.items():
            check(inner[1] or inner[2], entry, f"{place}.{name}")
    elif kind in PLAIN:
        assert isinstance(value, PLAIN[kind]), f"{place} = {value!r} is no {kind}"
    elif (known := getattr(models, kind, None) or getattr(kubernetes.client, kind, None)) is not None:
        assert isinstance(value, dict), place
        names = {given: name for name, given in known.attribute_map.items()}
        for name, entry in value.items():
            assert name in names, f"{place}: {kind} has no {name!r}"
            check(known.openapi_types[names[name]], entry, f"{place}.{name}")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_has_only_members_that_kserve_knows(path: Path) -> None:
    manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    check(TYPES[manifest["kind"]], manifest, path.name)
    assert manifest["apiVersion"].startswith("serving.kserve.io/")


@pytest.mark.parametrize(("member", "value"), [("enableServiceLink", False), ("minReplicas", "1")])
def test_a_mistyped_member_is_found(member: str, value: object) -> None:
    manifest = yaml.safe_load((ROOT / "deploy/kserve/inferenceservice.yaml").read_text(encoding="utf-8"))
    manifest["spec"]["predictor"][member] = value
    with pytest.raises(AssertionError, match=member):
        check("V1beta1InferenceService", manifest, "")
