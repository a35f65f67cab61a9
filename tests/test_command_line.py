import json
import signal
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from emo_serve.__main__ import main, settings_table, workers_of
from emo_serve.environment import group_of
from emo_serve.process.exit_codes import EXIT_FAILED_INPUTS, EXIT_OK
from emo_serve.settings import SessionOptions, Settings, all_settings
from tests.serving import emo_serve
from tests.support import encode_image, plain, write_classifier, write_detector


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_says_where_it_is_answers_and_stops_cleanly_on_sigterm(tmp_path: Path, workers: str) -> None:
    write_classifier(tmp_path)
    server = emo_serve(
        *("serve", "--port", "0", "--models", str(tmp_path), "--no-tune", "--workers", workers),
        EMO_PORT="1",
        EMO_TUNE="true",
    )
    assert server.stdout
    try:
        welcome = server.stdout.readline()
        assert "toy-classifier 1 at http://127.0.0.1:" in welcome
        url = welcome.split(" at ")[1].split()[0]
        assert f"curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' {url}/classify" in server.stdout.readline()
        body = encode_image(plain("blue"))
        answer = httpx.post(f"{url}/classify", content=body, headers={"content-type": "image/png"}).json()
        assert answer["classifications"][0]["name"] == "blue"
    finally:
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=20)
    assert server.returncode == 0
    messages = [json.loads(line)["message"] for line in errors.splitlines()]  # uvicorn's own lines included
    assert "serving" in messages
    assert "request" in messages
    assert "tuned" not in messages


@pytest.mark.parametrize(
    ("workers", "host", "listens", "here"),
    [("1", "0.0.0.0", "0.0.0.0", "127.0.0.1"), ("2", "::", "[::]", "[::1]"), ("1", "::1", "[::1]", "[::1]")],
)
def test_the_start_line_has_the_address_that_is_listened_on(
    tmp_path: Path, workers: str, host: str, listens: str, here: str
) -> None:
    write_classifier(tmp_path)
    options = ("--port", "0", "--models", str(tmp_path), "--no-tune", "--workers", workers, "--host", host)
    server = emo_serve("serve", *options)
    assert server.stdout
    try:
        welcome = server.stdout.readline()
        url = welcome.split(" at ")[1].split()[0]
        assert url.rpartition(":")[0] == f"http://{listens}"
        port = url.rpartition(":")[2]
        assert f"(documentation: http://{here}:{port}/docs)" in welcome
        page = welcome.split()[-1]
        assert page == f"http://{here}:{port}/"
        assert "playground/main.js" in httpx.get(page, trust_env=False).text
        assert httpx.get(f"http://{here}:{port}/readyz", trust_env=False).status_code == 200
    finally:
        server.kill()
        server.communicate(timeout=20)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_start_line_names_no_page_that_is_switched_off(tmp_path: Path, workers: str) -> None:
    write_classifier(tmp_path)
    options = ("--port", "0", "--models", str(tmp_path), "--no-tune", "--workers", workers)
    server = emo_serve("serve", *options, EMO_PLAYGROUND="false")
    assert server.stdout
    try:
        assert server.stdout.readline().endswith("/docs)\n")
    finally:
        server.kill()
        server.communicate(timeout=20)


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"emo-serve {version('emo-serve')}\n"


def test_tune_measures_for_the_goal_on_the_command_line(tmp_path: Path) -> None:
    write_classifier(tmp_path / "models")
    command = emo_serve(
        *("tune", "--models", str(tmp_path / "models"), "--goal", "latency", "--json"),
        EMO_CACHE_DIR=str(tmp_path / "cache"),
        EMO_SESSION__INTRA_OP_THREADS="1",
    )
    output, errors = command.communicate(timeout=30)
    assert (command.returncode, errors) == (0, "")
    (report,) = json.loads(output)
    assert (report["goal"], report["choice"]["max_batch_size"]) == ("latency", 1)


def test_no_servable_model_is_a_clean_message_and_exit_code_1(tmp_path: Path) -> None:
    write_detector(tmp_path, golden_shift=1.0)
    server = emo_serve("serve", "--port", "0", "--models", str(tmp_path), EMO_LOG_LEVEL="error")
    _, errors = server.communicate(timeout=30)
    assert server.returncode == 1
    last = errors[errors.index("emo-serve: ") :]
    assert "no model can be served" in last
    assert "toy-detector" in last
    assert "Traceback" not in last


def test_without_the_gpu_that_is_asked_for_nothing_is_served(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    server = emo_serve("serve", "--port", "0", "--models", str(tmp_path), EMO_SESSION__PROVIDER="cuda")
    _, errors = server.communicate(timeout=30)
    assert server.returncode == 1
    assert "no CUDAExecutionProvider here" in errors[errors.index("emo-serve: ") :]


def test_there_is_a_process_for_each_core_but_one_for_a_gpu_unless_so_many_are_asked_for() -> None:
    gpu = SessionOptions(provider="cuda")
    assert [workers_of(Settings(), cores) for cores in (1, 2, 64)] == [1, 2, 8]
    assert workers_of(Settings(session=gpu), cores=64) == 1
    assert workers_of(Settings(session=gpu, workers=3), cores=64) == 3


def test_a_port_in_use_is_a_clean_message_and_exit_code_1(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = emo_serve("serve", "--port", str(port), "--models", str(tmp_path))
        _, errors = server.communicate(timeout=30)
    assert server.returncode == 1
    assert f"emo-serve: cannot listen on 127.0.0.1 port {port}" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--port", "99999"], "EMO_PORT: must be less than or equal to 65535"),
        (["serve", "--host", ""], "EMO_HOST"),
    ],
)
def test_a_setting_out_of_range_is_named_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("EMO_ROOT_PATH", "vision/", "'vision/' is no path to publish the server below: allowed are such as /vision"),
        ("EMO_ROOT_PATH", "/vision/", "none at the end"),
        ("EMO_ROOT_PATH", "", "'' is no path"),
        ("EMO_ROOT_PATH", "/a" * 129, "at most 256 characters"),
        ("EMO_ROOT_PATH", "https://x.example/vision", "allowed are such as /vision or /a/b"),
        ("EMO_CLIENT_HEADER", "X Client", "'X Client' is no name of a header, as X-Forwarded-For"),
        ("EMO_CLIENT_HEADER", "", "is no name of a header"),
        ("EMO_CORS_ORIGINS", "photos.example", "'photos.example' is no origin: allowed are scheme://host"),
        ("EMO_TRUSTED_PROXIES", "proxy", "'proxy' is no address or network: allowed are such as 10.0.0.7"),
        ("EMO_TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.0/40", "'10.0.0.0/40' is no address or network"),
        ("EMO_TRUSTED_PROXIES", "10.0.0.1/8", "allowed are 10.0.0.1 alone, or 10.0.0.0/8"),
        ("EMO_TRUSTED_PROXIES", "2001:db8::1/32", "allowed are 2001:db8::1 alone, or 2001:db8::/32"),
        ("EMO_LOG_FORMAT", "xml", "must be 'auto', 'text' or 'json'"),
        ("EMO_HANG_SECONDS", "1", "must be greater than or equal to 2"),
        ("EMO_HANG_SECONDS", "never", "must be a valid number"),
        ("EMO_LOAD_SECONDS", "0", "must be greater than or equal to 1"),
        ("EMO_HTTP__MAX_HEADERS", "9", "must be greater than or equal to 10"),
        ("EMO_HTTP__MAX_CONNECTIONS_PER_CLIENT", "x", "must be a whole number"),
        ("EMO_HTTP", "64k", "its parts have variables of their own: EMO_HTTP__MAX_LINE_BYTES, EMO_HTTP__MAX_HEAD"),
        ("EMO_HTTP", "3", "its parts have variables of their own: EMO_HTTP__MAX_LINE_BYTES"),
        ("EMO_HTTP", "", "its parts have variables of their own: EMO_HTTP__MAX_LINE_BYTES"),
        ("EMO_PLAYGROUND", "maybe", "must be true or false"),
        ("EMO_PROTOCOLS", "v2,moon", "must be 'v2', 'huggingface'"),
        ("EMO_BATCHING", "on", "its parts have variables of their own: EMO_BATCHING__MAX_BATCH_SIZE"),
    ],
)
def test_a_variable_that_cannot_be_is_named_with_what_is_allowed_in_plain_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["serve"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"emo-serve: {variable}: ")
    assert words in line
    assert not any(word in line for word in ("pattern", "HttpLimits", "dictionary", "Source", "unable"))


def test_a_mistyped_variable_is_named_and_exit_code_2() -> None:
    server = emo_serve("serve", EMO_PROT="8001")
    _, errors = server.communicate(timeout=30)
    assert server.returncode == 2
    assert errors == "emo-serve: EMO_PROT is no setting; did you mean EMO_PORT?\n"


def test_a_variable_like_none_that_exists_is_not_likened_to_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EMO_XYZZY", "1")
    assert main(["serve"]) == 2
    assert capsys.readouterr().err == "emo-serve: EMO_XYZZY is no setting; `emo-serve settings` lists all\n"


def test_shares_of_keys_without_keys_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EMO_API_KEY_CONCURRENCY", "2")
    assert main(["serve"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "EMO_API_KEY_CONCURRENCY need EMO_API_KEYS_FILE" in line


@pytest.mark.usefixtures("restored_logging")
def test_a_repository_that_is_not_there_is_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--models", str(tmp_path / "nowhere")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"emo-serve: {tmp_path / 'nowhere'}: there is no such folder; EMO_MODELS or --models")


def test_what_kubernetes_sets_is_a_warning_and_no_more(tmp_path: Path) -> None:
    write_detector(tmp_path, golden_shift=1.0)
    links = {"EMO_SERVE_SERVICE_HOST": "10.0.0.1", "EMO_PORT": "tcp://10.0.0.1:80"}
    for command in (["serve", "--port", "0", "--workers", "1"], ["serve", "--port", "0", "--workers", "2"]):
        server = emo_serve(*command, "--models", str(tmp_path), **links)
        _, errors = server.communicate(timeout=30)
        assert "no model can be served" in errors  # it came so far
        first = json.loads(errors.splitlines()[0])
        assert (first["level"], first["variables"]) == ("warning", ["EMO_PORT", "EMO_SERVE_SERVICE_HOST"])


def test_settings_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("EMO_")]
    assert listed == [variable for variable, field in all_settings() if group_of(field) is None]
    assert all(entry.count("\n") == 2 for entry in settings_table())


def test_a_reader_that_has_seen_enough_of_the_settings_is_no_error() -> None:
    listing = emo_serve("settings")
    assert listing.stdout
    listing.stdout.close()
    _, errors = listing.communicate(timeout=30)
    assert (listing.returncode, errors) == (0, "")


def test_mcp_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    monkeypatch.delitem(sys.modules, "emo_client.mcp_server", raising=False)
    assert main(["mcp"]) == 1
    assert "pip install 'emo-client[mcp]'" in capsys.readouterr().err


def test_streams_that_are_closed_are_no_fault_of_the_command(tmp_path: Path) -> None:
    write_classifier(tmp_path / "models")
    (tmp_path / "photo.png").write_bytes(encode_image(plain("red")))
    command = f"cd {tmp_path} && set -o pipefail && {sys.executable} -m emo_serve predict --models models"
    for asked, status in (
        ("photo.png photo.png | head -0", EXIT_OK),
        ("photo.png >&-", EXIT_OK),
        ("photo.png 2>&- <&-", EXIT_OK),
        ("- <&-", EXIT_FAILED_INPUTS),
    ):
        done = subprocess.run(["bash", "-c", f"{command} {asked}"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (status, "")
    assert "The image is empty" in done.stdout
