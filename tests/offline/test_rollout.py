"""A version for several replicas: real servers with folders of their own."""

import contextlib
import json
import re
import shlex
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from emo_serve.__main__ import main
from tests.load.clients import Clients, Post
from tests.serving import Command, commanded
from tests.support import encode_image, plain, write_classifier

NAME = "toy-classifier"
PAGE = Path(__file__).parents[2] / "docs/hot-swap.md"
TOKEN = "a token for tests"  # noqa: S105  # as it says
QUESTION = Post("/classify", encode_image(plain("red")), "image/png")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="ascii")
    return file


@contextlib.contextmanager
def replica(folder: Path, workers: int = 1) -> Iterator[Command]:
    """A server with version 1 of the classifier."""
    models = folder / "models"
    models.mkdir(parents=True)
    write_classifier(models)
    with commanded(models, folder / "log", workers, EMO_ADMIN_PORT="0", EMO_ADMIN_TOKEN=TOKEN) as server:
        yield server


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[list[Command]]:
    with replica(tmp_path / "a") as first, replica(tmp_path / "b") as second:
        yield [first, second]


def admin_url(server: Command) -> str:
    return f"http://127.0.0.1:{server.admin_port}"


def roll_out(servers: list[Command], token_file: Path) -> int:
    """Run the command of the documentation, for these servers."""
    (block,) = re.findall(r"^emo-serve (rollout .*?[^\\])$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    command, name, version, flag, file, *replicas = shlex.split(block.replace("\\\n", ""))
    assert (command, name, version, flag, file) == ("rollout", "emo-1m", "5", "--token-file", "admin-token")
    assert replicas[::2] == ["--replica"] * 3
    addresses = [argument for server in servers for argument in (replicas[0], admin_url(server))]
    return main([command, NAME, "2", flag, str(token_file), *addresses])


def versions(server: Command) -> list[str]:
    listed = httpx.get(f"{server.url}/models", timeout=20).json()["models"]
    return [entry["version"] for entry in listed if entry["name"] == NAME]


def test_all_workers_of_all_replicas_serve_the_version_and_no_request_fails_meanwhile(
    tmp_path: Path, token_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with replica(tmp_path / "a") as first, replica(tmp_path / "b", 2) as second:
        assert_rolled_out_under_load(tmp_path, [first, second], token_file, capsys)


def assert_rolled_out_under_load(
    tmp_path: Path, replicas: list[Command], token_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        write_classifier(tmp_path / name / "models", version="2", turn=1)
    statuses: list[int] = []
    lock = threading.Lock()

    def note(status: int) -> None:
        with lock:
            statuses.append(status)

    with contextlib.ExitStack() as load:
        for server in replicas:
            load.enter_context(Clients(server.url, 2, lambda _: QUESTION, lambda _n, _p, answer: note(answer.status)))
        assert roll_out(replicas, token_file) == 0
    first, second, proof = capsys.readouterr().out.splitlines()
    assert "toy-classifier 2 is served by 1 worker, sha256:" in first
    assert "toy-classifier 2 is served by 2 workers, sha256:" in second
    assert proof.startswith("all 2 serve toy-classifier 2, sha256:")
    assert statuses
    assert set(statuses) == {200}
    digests = [httpx.get(f"{server.url}/models", timeout=20).json()["models"] for server in replicas]
    served = [{entry["version"]: entry["digest"] for entry in models if entry["name"] == NAME} for models in digests]
    assert served[0] == served[1]
    assert served[0]["2"] == proof.split(", ")[1]
    assert served[0]["1"] != served[0]["2"]


def test_the_first_replica_that_cannot_serve_it_ends_the_command_and_none_serves_it_then(
    tmp_path: Path, replicas: list[Command], token_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classifier(tmp_path / "a" / "models", version="2", turn=1)
    broken = write_classifier(tmp_path / "b" / "models", version="2", turn=1)
    manifest = json.loads((broken / "manifest.json").read_text(encoding="utf-8"))
    manifest["golden"]["outputs"][0]["values"] = [0.5]
    (broken / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert roll_out(replicas, token_file) == 1
    halted, back, broken_back = capsys.readouterr().err.splitlines()
    assert halted.startswith(f"emo-serve: halted: {admin_url(replicas[1])}: 409: Version 2 of model 'toy-classifier'")
    assert "golden" in halted or "self-test" in halted
    assert back == f"emo-serve: taken back: {admin_url(replicas[0])}"
    assert admin_url(replicas[1]) in broken_back
    assert [versions(server) for server in replicas] == [["1"], ["1"]]


def test_replicas_with_different_content_under_one_version_are_named(
    tmp_path: Path, replicas: list[Command], token_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classifier(tmp_path / "a" / "models", version="2", turn=1)
    write_classifier(tmp_path / "b" / "models", version="2", turn=2)
    assert roll_out(replicas, token_file) == 1
    assert f"halted: {admin_url(replicas[1])} serves sha256:" in capsys.readouterr().err
    assert [versions(server) for server in replicas] == [["1"], ["1"]]


def test_nothing_is_changed_while_a_replica_is_away(
    tmp_path: Path, replicas: list[Command], token_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        write_classifier(tmp_path / name / "models", version="2", turn=1)
    replicas[1].stop()
    assert roll_out(replicas, token_file) == 1
    assert f"halted: {admin_url(replicas[1])}: " in capsys.readouterr().err
    assert versions(replicas[0]) == ["1"]


def test_a_version_that_was_served_before_stays_when_another_replica_cannot_serve_it(
    tmp_path: Path, replicas: list[Command], token_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classifier(tmp_path / "a" / "models", version="2", turn=1)
    assert roll_out(replicas[:1], token_file) == 0
    assert roll_out(replicas, token_file) == 1  # the second has no such folder
    assert f"does not serve it: {admin_url(replicas[1])}" in capsys.readouterr().err
    assert versions(replicas[0]) == ["1", "2"]


def test_a_model_may_be_called_with_underscores(
    tmp_path: Path, replicas: list[Command], token_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classifier(tmp_path / "a" / "models", version="2", turn=1)
    addressed = ["--replica", admin_url(replicas[0]), "--token-file", str(token_file)]
    assert main(["rollout", NAME.replace("-", "_"), "2", *addressed]) == 0
    assert "all 1 serve toy_classifier 2, sha256:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "option", ["--pause=-1", "--pause=nan", "--pause=inf", "--timeout=0", "--timeout=nan", "--timeout=1e9"]
)
def test_times_that_are_none_are_refused(option: str, token_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    addressed = ["--replica", "http://127.0.0.1:9", "--token-file", str(token_file)]
    assert main(["rollout", NAME, "2", *addressed, option]) == 1
    assert "--pause and --timeout are seconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        *(
            "10.0.0.4:8001",
            "ftp://10.0.0.4",
            "http://",
            "http://[::1",
            "http://127.0.0.1:abc",
            "http://127.0.0.1:99999",
        ),
        *("http://a b", "http://a\nb", "http://h/a b", "http://:8001", "http://me@h", "http://h?x", "http://h/#x"),
    ],
)
def test_what_is_no_url_is_refused(url: str, token_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", NAME, "2", "--replica", url, "--token-file", str(token_file)]) == 1
    assert f"--replica {url}: allowed are URLs such as http://10.0.0.4:8001" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("http://h:18902", "http://h:18902"),
        ("http://h:18902", "http://H:18902/"),
        ("http://h", "HTTP://h:80//"),
        ("https://h:443/admin", "https://h/admin/"),
    ],
)
def test_a_replica_that_is_named_twice_is_refused(
    first: str, second: str, token_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    addressed = ["--replica", first, "--replica", second, "--token-file", str(token_file)]
    assert main(["rollout", NAME, "2", *addressed]) == 1
    said = f"--replica {second}: names the same server as --replica {first}; name each once"
    assert said in capsys.readouterr().err


def test_a_server_that_does_not_speak_http_halts_the_command(
    token_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def greet() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"SSH-2.0-none\r\n")
            connection.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert main(["rollout", NAME, "2", "--replica", url, "--token-file", str(token_file)]) == 1
        thread.join()
    assert f"halted: {url}: SSH-2.0-none" in capsys.readouterr().err


def test_a_wrong_token_and_a_port_of_the_public_side_are_said(
    tmp_path: Path, replicas: list[Command], token_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.write_text("another token for tests", encoding="ascii")
    assert roll_out(replicas, other) == 1
    assert f"halted: {admin_url(replicas[0])}: 401: " in capsys.readouterr().err
    arguments = ["rollout", NAME, "2", "--replica", replicas[0].url, "--token-file", str(token_file)]
    assert main(arguments) == 1
    assert "is this the administration (EMO_ADMIN_PORT)?" in capsys.readouterr().err
