"""The file of API keys: what changes in it counts soon, what breaks it changes nothing; keys are made by a command."""

import hashlib
import logging
import os
import re
from pathlib import Path

import httpx
import pytest

from emo_serve.__main__ import main
from emo_serve.api.http.key_file import KeyFile, new_key, read_keys
from emo_serve.errors import StartupError
from tests.docs.blocks import ROOT, blocks
from tests.docs.shell import follow
from tests.serving import in_process, settings_for


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    new_key("alice", path)
    return path


def test_a_file_that_an_editor_on_windows_wrote_is_read(path: Path) -> None:
    keys = read_keys(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_keys(path) == keys
    new_key("bob", path)
    assert set(read_keys(path)) == {"alice", "bob"}


def test_a_file_that_changes_is_read_again(path: Path) -> None:
    keys = KeyFile(path, clock := Clock())
    key, _ = new_key("bob", path)
    assert set(keys()) == {"alice"}  # it was looked at just now
    clock.now = 1
    assert set(keys()) == {"alice", "bob"}
    assert keys()["bob"] == hashlib.sha256(key.encode()).digest()
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    clock.now = 2
    assert set(keys()) == {"bob"}
    other = path.with_name("other")
    new_key("carol", other)
    other.replace(path)  # as configuration that is mounted changes
    clock.now = 3
    assert set(keys()) == {"carol"}


@pytest.mark.parametrize("fault", ["gone", "empty", "half", "folder", "pipe", "binary"])
def test_a_file_that_breaks_or_goes_changes_nothing_and_is_logged_once(
    path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys = KeyFile(path, clock := Clock())
    text = path.read_text()
    path.unlink()
    match fault:
        case "empty":
            path.write_text("")
        case "half":
            path.write_text(text + "bob:12")
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "binary":
            path.write_bytes(b"\xff\xfe")
    with caplog.at_level(logging.INFO):
        for clock.now in (1, 2, 3):
            assert set(keys()) == {"alice"}
        assert [record.message for record in caplog.records] == ["the API keys stay as they were"]
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_text(text)
        new_key("bob", path)
        clock.now = 4
        assert set(keys()) == {"alice", "bob"}
    assert "12" not in caplog.text.replace(str(path), "")


def test_it_is_looked_at_once_a_second_at_most(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KeyFile(path, clock := Clock())
    looks: list[Path] = []
    monkeypatch.setattr("emo_serve.api.http.key_file._fingerprint", looks.append)
    for tenth in range(100):
        clock.now = tenth / 10
        keys()
    assert len(looks) == 9


@pytest.mark.anyio
async def test_a_new_key_is_let_in_and_a_removed_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    path = tmp_path / "keys"
    alice, _ = new_key("alice", path)
    monkeypatch.setattr("emo_serve.api.http.key_file._CHECK_SECONDS", 0.0)
    async with in_process(settings_for(tmp_path / "models", api_keys_file=path)) as (client, _):

        async def ask(key: str) -> int:
            headers = {"authorization": f"Bearer {key}"}
            answer: httpx.Response = await client.get("/models", headers=headers)
            return answer.status_code

        assert await ask(alice) == 200
        bob, line = new_key("bob", path)
        assert (await ask(bob), await ask(alice)) == (200, 200)
        path.write_text(f"{line}\n")
        assert (await ask(bob), await ask(alice)) == (200, 401)


def test_the_command_prints_the_key_alone_and_adds_its_digest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys"
    assert main(["key", "new", "alice", "--file", str(path)]) == 0
    key = capsys.readouterr().out
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}\n", key)
    assert path.read_text() == f"alice:{hashlib.sha256(key.strip().encode()).hexdigest()}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(path.read_text().rstrip("\n"))  # as some editors leave it
    monkeypatch.setenv("EMO_API_KEYS_FILE", str(path))
    assert main(["key", "new", "bob.2"]) == 0
    assert list(read_keys(path)) == ["alice", "bob.2"]
    assert capsys.readouterr().out != key


def test_the_two_ways_to_a_key_that_the_documentation_shows_go_into_one_file(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    shown = [block for block in blocks(page) if "emo-serve key new" in block.code or ">> keys" in block.code]
    shell = follow(shown, tmp_path, 0)
    assert shell.returncode == 0, shell.stderr
    assert (len(shown), list(read_keys(tmp_path / "keys"))) == (2, ["alice", "bob"])


def test_without_a_file_the_command_says_where_the_line_belongs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "new", "alice"]) == 0
    output, errors = capsys.readouterr()
    assert f"alice:{hashlib.sha256(output.strip().encode()).hexdigest()}" in errors
    assert "EMO_API_KEYS_FILE" in errors
    assert output.strip() not in errors


@pytest.mark.parametrize("name", ["alice", "al ice", "", "a:b", "x" * 65, "alice\n"])
def test_a_name_that_has_a_key_or_can_have_none_is_refused_and_nothing_written(
    path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = path.read_text()
    assert main(["key", "new", name, "--file", str(path)]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("emo-serve: ")
    assert path.read_text() == before


def test_a_broken_file_is_not_added_to(path: Path) -> None:
    path.write_text("nonsense\n")
    with pytest.raises(StartupError, match="line 1"):
        new_key("bob", path)
    assert path.read_text() == "nonsense\n"
