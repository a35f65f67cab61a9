"""The repository as newcomers meet it: the README's request, the workflows, and where new things go."""

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.serving import running, settings_for

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def parsed(path: Path) -> dict[Any, Any]:
    document: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_the_request_in_the_readme_runs_as_it_stands_and_gets_the_answer_that_is_shown() -> None:
    shown = re.search(r"^```sh\n(curl .*)\n```\n\n```json\n(.*?)^```", read("README.md"), re.MULTILINE | re.DOTALL)
    assert shown
    program, option, photo, header, media_type, url = shlex.split(shown[1])
    assert (program, option, header) == ("curl", "--data-binary", "-H")
    path = url.removeprefix("localhost:8000")
    with running(settings_for(ROOT / "models")) as server, httpx.Client(base_url=server.url, timeout=20) as client:
        content = (ROOT / photo.removeprefix("@")).read_bytes()
        name, _, value = media_type.partition(": ")
        answer = client.post(path, content=content, headers={name: value}).json()
    wanted = json.loads(shown[2])
    assert answer.keys() == wanted.keys()
    assert (answer["model"], answer["image"]) == (wanted["model"], wanted["image"])
    for found, documented in zip(answer["detections"], wanted["detections"], strict=True):
        assert found.keys() == documented.keys()
        assert found["name"] == documented["name"]
        assert found["score"] == pytest.approx(documented["score"], abs=0.01)
        assert found["box"] == pytest.approx(documented["box"], abs=2)


def test_the_readme_is_short() -> None:
    shown = [line for line in read("README.md").splitlines() if not line.startswith("<!-- ")]
    assert len(shown) <= 85


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_only_make_targets_that_exist(path: Path) -> None:
    called = {
        target for step in steps(parsed(path)) for target in re.findall(r"\bmake ([a-z0-9-]+)", step.get("run", ""))
    }
    assert called <= TARGETS


def test_the_workflows_run_the_checks_that_a_change_must_pass() -> None:
    called = {step.get("run") for step in steps(parsed(ROOT / ".github/workflows/check.yml"))}
    assert set(re.findall(r"^make .*$", read(".ci/run"), flags=re.MULTILINE)) <= called


def test_every_python_that_is_tried_is_one_that_the_package_names() -> None:
    matrix = parsed(ROOT / ".github/workflows/check.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == re.findall(r'"Programming Language :: Python :: (3\.\d+)"', read("pyproject.toml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_only_and_ends_in_time_and_every_action_has_a_version(path: Path) -> None:
    workflow = parsed(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] > 0 for job in workflow["jobs"].values())
    for step in steps(workflow):
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[\w./-]+", step.get("uses", "a/b@v1")), step


def test_hooks_before_a_commit_are_make_targets_and_download_nothing() -> None:
    for repository in parsed(ROOT / ".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            program, target = hook["entry"].split()
            assert (program, hook["language"]) == ("make", "system")
            assert target in TARGETS


def test_every_path_that_the_guide_for_contributors_names_exists() -> None:
    guide = read("CONTRIBUTING.md")
    named = set(re.findall(r"`((?:app|emo|tests|docs|docker|deploy|bench|requirements|\.github)/[\w./-]*)`", guide))
    assert len(named) > 15
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_the_types_of_both_packages_are_published() -> None:
    data = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]["package-data"]
    for package, folder in (("emo_serve", "app/emo_serve"), ("emo", "emo")):
        assert (ROOT / folder / "py.typed").exists()
        assert "py.typed" in data[package]


def anchors(page: Path) -> set[str]:
    """The sections of a page, as GitHub names them in links."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_to_a_section_of_a_document_lead_to_one() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    links = [
        (page, (page.parent / target).resolve() if target else page, anchor)
        for page in pages
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 50
    assert [
        f"{page.name}: {target.name}#{anchor}" for page, target, anchor in links if anchor not in anchors(target)
    ] == []
