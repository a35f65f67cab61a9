"""deploy/ray: the job for KubeRay agrees with the command, the lock and Kubernetes' rules."""

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from emo_serve.command_parser import command_parser

ROOT = Path(__file__).parent.parent
JOB, POLICY = yaml.safe_load_all((ROOT / "deploy/ray/rayjob.yaml").read_text(encoding="utf-8"))


def pods() -> list[dict[str, Any]]:
    cluster = JOB["spec"]["rayClusterSpec"]
    groups: list[dict[str, Any]] = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def containers() -> list[dict[str, Any]]:
    submitter: list[dict[str, Any]] = JOB["spec"]["submitterPodTemplate"]["spec"]["containers"]
    return [container for pod in pods() for container in pod["containers"]] + submitter


def test_the_command_of_the_job_is_one_that_exists() -> None:
    name, *arguments = shlex.split(JOB["spec"]["entrypoint"])
    options = command_parser().parse_args(arguments)
    assert name == "emo-serve"
    assert (options.command, options.engine) == ("batch", "ray")


def test_the_cluster_runs_the_ray_that_is_locked_in_the_image_of_this_version() -> None:
    lock = (ROOT / "requirements/ray.txt").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert [JOB["spec"]["rayClusterSpec"]["rayVersion"]] == re.findall(r"^ray==(\S+)", lock, flags=re.MULTILINE)
    versions = re.findall(r'^version = "(.+)"', project, flags=re.MULTILINE)
    assert {container["image"] for container in containers()} == {f"emo-serve:{versions[0]}-ray"}


def test_pods_are_bounded_unprivileged_and_reached_only_by_each_other() -> None:
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
    assert all("memory" in container["resources"]["limits"] for container in containers())
    assert JOB["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert POLICY["spec"]["policyTypes"] == ["Ingress"]
    assert all(rule.keys() == {"from"} for rule in POLICY["spec"]["ingress"])


def test_actors_get_as_many_cores_as_their_pod_has() -> None:
    for group in JOB["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        assert group["rayStartParams"]["num-cpus"] == container["resources"]["requests"]["cpu"]
