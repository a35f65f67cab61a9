"""The repository as a whole: documentation, lock files, containers."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from emo_serve.api.wire.problems import problem_types
from emo_serve.metrics.definitions import Metrics
from emo_serve.metrics.process import SupervisorMetrics
from emo_serve.settings import all_settings

ROOT = Path(__file__).parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads(read("pyproject.toml"))["project"]
    return table


def canonical(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def tracked_files() -> list[Path]:
    """Every file that is in the repository, or would be after adding all."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted({path for name in listing.split("\0") if name and (path := ROOT / name).is_file()})


# ---- documentation ----


def test_every_metric_is_documented_and_no_other() -> None:
    samples = {
        metric.name + ("_total" if metric.type == "counter" else ""): metric.type
        for metrics in (Metrics(), SupervisorMetrics())
        for metric in metrics.registry.collect()
        if metric.name.startswith("emo_")
    }
    documented = dict(re.findall(r"^\| `(emo_\w+)` \| (\w+) \|", read("docs/metrics.md"), flags=re.MULTILINE))
    assert documented == samples


def test_every_problem_type_is_documented_with_its_status_and_no_other() -> None:
    sections = re.findall(r"^### ([\w-]+)\n(\d{3})\b", read("docs/problems.md"), flags=re.MULTILINE)
    assert sorted(sections) == [(problem.name, str(problem.status)) for problem in problem_types()]


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", read("docs/threat-model.md")))
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 20
    assert named <= set(re.findall(r"^(?:async )?def (test_\w+)\(", tests, flags=re.MULTILINE))


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in tracked_files()
        if path.suffix == ".md"
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
        if not (path.parent / target).is_file()  # the site has no page for a folder
    ]
    assert broken == []


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    notebooks = [notebook.with_suffix(".md") for notebook in (ROOT / "examples").glob("*.ipynb")]
    guides = [ROOT / "client/README.md", ROOT / "client/typescript/README.md", *ROOT.glob("examples/*/README.md")]
    pages = [*ROOT.glob("*.md"), *guides, *(ROOT / "docs").rglob("*.md"), *notebooks]
    navigation = re.findall(r"\S+\.md$", read("mkdocs.yml").partition("\nnav:\n")[2], flags=re.MULTILINE)
    assert sorted(navigation) == sorted(page.relative_to(ROOT).as_posix() for page in pages)


def test_the_readme_names_the_two_commands() -> None:
    readme = read("README.md")
    assert "make serve" in readme
    assert "make test" in readme


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), flags=re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md", ".ci/run"):
        named = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", read(document), flags=re.MULTILINE))
        assert named <= targets, document


def test_the_architecture_page_shows_every_module_in_its_folder_and_no_other() -> None:
    tree = read("docs/architecture.md").partition("## The tree")[2].partition("```\n")[2].partition("```")[0]
    shown: list[str] = []
    folders: list[tuple[int, str]] = []
    for line in tree.splitlines():
        depth, (first, *others) = len(line) - len(line.lstrip()), line.split()
        folders = [(indent, folder) for indent, folder in folders if indent < depth]
        if first.endswith("/"):
            folders.append((depth, first))
        place = "".join(folder for _, folder in folders)
        shown += [place + name for name in (first, *others) if re.fullmatch(r"\w+\.py,?", name)]
    there = {
        path.relative_to(ROOT).as_posix()
        for folder in ("app", "client", "emo")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert sorted(name.rstrip(",") for name in shown) == sorted(there)


def test_no_module_class_or_function_has_a_retired_word_for_a_name() -> None:
    rows = re.findall(
        r"^\| ([^|(]+) \|", read("docs/glossary.md").partition("| Retired words |")[2], flags=re.MULTILINE
    )
    retired = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert len(retired) > 20
    names = set()
    for folder in ("app", "client", "emo"):
        for path in (ROOT / folder).rglob("*.py"):
            names.add(path.stem)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef | ast.Module):
                    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
                    parts = [part for part in node.body if isinstance(part, kinds)]
                    names.update(part.name.lower().strip("_" * isinstance(part, ast.ClassDef)) for part in parts)
    assert sorted(names & retired) == []


def test_the_licence_is_apache_2_0() -> None:
    assert project()["license"] == "Apache-2.0"
    assert read("LICENSE").lstrip().startswith("Apache License\n")
    assert "END OF TERMS AND CONDITIONS" in read("LICENSE")


def test_one_version_is_named_everywhere() -> None:
    version = project()["version"]
    assert re.findall(r"^## \[(\d[^]]*)\]", read("CHANGELOG.md"), flags=re.MULTILINE)[0] == version
    assert tomllib.loads(read("client/pyproject.toml"))["project"]["version"] == version
    package, lock = (json.loads(read(f"client/typescript/{name}.json")) for name in ("package", "package-lock"))
    assert (package["version"], lock["version"], lock["packages"][""]["version"]) == (version, version, version)
    for dockerfile in ("Dockerfile", "docker/cuda.Dockerfile"):
        assert f"ARG VERSION={version}\n" in read(dockerfile)
    image = yaml.safe_load(read("docker-compose.yml"))["services"]["app"]["image"]
    assert image == f"${{EMO_IMAGE:-emo-serve:{version}}}"
    (image,) = yaml.safe_load(read("deploy/k8s/base/kustomization.yaml"))["images"]
    assert image == {"name": "emo-serve", "newTag": version}
    chart = yaml.safe_load(read("deploy/helm/emo-serve/Chart.yaml"))
    assert (chart["version"], chart["appVersion"]) == (version, version)
    tags = {
        (path.relative_to(ROOT).as_posix(), tag.decode())
        for path in tracked_files()
        for tag in re.findall(rb"\bemo-serve:(\d+\.\d+\.\d+)", path.read_bytes())
    }
    assert {"README.md", "docs/deployment.md", "deploy/cloudrun/service.yaml"} <= {path for path, _ in tags}
    assert {tag for _, tag in tags} == {version}, tags


def test_no_file_names_a_package_registry_or_a_path_of_one_machine() -> None:
    words = [
        "pypi" + ".org",
        "python" + "hosted",
        "download." + "pytorch",
        "file:" + "///",
        "/ho" + "me/",
        "/wo" + "rk/",
    ]
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in tracked_files()
        for word in words
        if word.encode() in path.read_bytes()
    ]
    assert found == []


# ---- lock files ----


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_every_package_is_pinned_and_hashed(lock: Path) -> None:
    lines = [line for line in lock.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    entries = "\n".join(lines).replace("\\\n", "").splitlines()
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==[\w.]+ .*--hash=sha256:[0-9a-f]{64}", entry), entry[:80]


def test_the_locks_agree_with_each_other_and_hold_no_torch_and_cuda_only_where_it_is_wanted() -> None:
    pins: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(encoding="utf-8"), flags=re.MULTILINE):
            if lock.name not in (
                "clients.txt",
                "integrations.txt",
                "ray.txt",
                "ray-test.txt",
            ):  # environments of their own
                pins.setdefault(name, set()).add(version)
            assert lock.name == "cuda.txt" or not name.startswith(("nvidia", "onnxruntime-gpu")), lock
    assert {name: versions for name, versions in pins.items() if len(versions) > 1} == {}
    assert "torch" not in pins


def test_everything_that_the_project_requires_is_locked() -> None:
    runtime, torch = read("requirements/runtime.txt"), read("requirements/torch.txt")
    extra: list[str] = project()["optional-dependencies"]["torch"]
    for requirement in project()["dependencies"]:
        assert f"\n{canonical(requirement)}==" in "\n" + runtime
    for requirement in extra:
        if canonical(requirement) != "torch":
            assert f"\n{canonical(requirement)}==" in "\n" + torch


def test_make_installs_the_torch_that_the_project_requires() -> None:
    torch = [entry for entry in project()["optional-dependencies"]["torch"] if canonical(entry) == "torch"]
    assert re.findall(r"^TORCH := (.*)$", read("Makefile"), flags=re.MULTILINE) == torch


# ---- the server keeps to itself ----


def test_onnx_runtime_is_told_to_send_no_usage_data_before_it_is_loaded() -> None:
    code = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        assert name != 'onnxruntime' or os.environ.get('ORT_DISABLE_TELEMETRY') == '1', 'too late'\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import emo_serve.engine.execution.session\n"
        "assert 'onnxruntime' in sys.modules\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=environment)


# ---- containers ----


@pytest.mark.parametrize("dockerfile", ["Dockerfile", "docker/cuda.Dockerfile"])
def test_a_container_runs_the_command_with_settings_of_its_own(dockerfile: str) -> None:
    instructions = read(dockerfile).replace("\\\n", " ")
    image = instructions[instructions.rindex("\nFROM ") :]
    assert re.findall(r"^(?:ENTRYPOINT|CMD) (.*)$", image, flags=re.MULTILINE) == ['["emo-serve"]', '["serve"]']
    variables = dict(re.findall(r"\b(EMO_\w+)=(\S+)", image))
    assert (variables["EMO_HOST"], variables["EMO_MODELS"]) == ("0.0.0.0", "/models")
    assert set(variables) <= {variable for variable, _ in all_settings()}


def test_the_readme_has_a_line_for_a_container_and_another_port_for_compose() -> None:
    readme = read("README.md")
    assert re.search(r"^docker run .*-p 127\.0\.0\.1:8000:8000 emo-serve:", readme, flags=re.MULTILINE)
    assert "\nBALANCER_PORT=8080 docker compose up --build --wait" in readme
    assert "docker/roll" in read("docs/operations.md")


def test_every_command_calls_the_repository_by_the_same_option() -> None:
    own = (*(ROOT / "app").rglob("*.py"), *(ROOT / "emo").rglob("*.py"), *(ROOT / "docs").rglob("*.md"))
    for path in (path for path in own if path.parent.name != "moving"):  # other servers' options
        assert "--repository" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("name", ["app", "balancer", "prometheus", "grafana"])
def test_a_composed_service_is_hardened_and_published_locally_only(name: str) -> None:
    service = yaml.safe_load(read("docker-compose.yml"))["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}


def test_the_configuration_that_is_mounted_into_containers_exists() -> None:
    services = yaml.safe_load(read("docker-compose.yml"))["services"]
    sources = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
    assert [source for source in sources if source.startswith("./") and not (ROOT / source).exists()] == []


def test_prometheus_finds_the_replicas_by_name() -> None:
    (job,) = yaml.safe_load(read("docker/prometheus.yml"))["scrape_configs"]
    assert job["dns_sd_configs"] == [{"names": ["app"], "type": "A", "port": 8000, "refresh_interval": "5s"}]
