"""The chart, rendered by Helm."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parent.parent / "deploy"
CHART = DEPLOY / "helm" / "emo-serve"
HELM = shutil.which("helm")
needs_helm = pytest.mark.skipif(not HELM, reason="NOT RENDERED: there is no helm on PATH; `make helm-check` demands it")


def template(*arguments: str, release: str = "emo-serve") -> subprocess.CompletedProcess[str]:
    """What Helm says to these values."""
    assert HELM
    command = [HELM, "template", release, str(CHART), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def rendered(*arguments: str, release: str = "emo-serve") -> dict[str, Any]:
    """Objects by kind, without the labels that say that Helm made them."""
    done = template(*arguments, release=release)
    assert done.returncode == 0, done.stderr
    objects = by_kind(done.stdout)
    for document in objects.values():
        assert document["metadata"]["labels"].pop("app.kubernetes.io/managed-by") == "Helm"
        assert document["metadata"]["labels"].pop("helm.sh/chart").startswith("emo-serve-")
    return objects


def by_kind(text: str) -> dict[str, Any]:
    documents = [document for document in yaml.safe_load_all(text) if document]
    assert len({document["kind"] for document in documents}) == len(documents)
    return {document["kind"]: document for document in documents}


def given(*values: str) -> list[str]:
    """Helm's arguments for these values; settings are strings."""
    return [argument for value in values for argument in ("--set-string" if "EMO_" in value else "--set", value)]
