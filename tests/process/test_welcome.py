"""What the command says when it has started."""

from pathlib import Path

import pytest

from tests.serving import emo_serve, settings_for


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_answers_but_is_not_ready_says_so_instead_of_how_to_ask(tmp_path: Path, workers: str) -> None:
    (tmp_path / "models").mkdir()
    settings_for(tmp_path / "models")
    arguments = ("serve", "--workers", workers, "--port", "0", "--models", str(tmp_path / "models"))
    with emo_serve(*arguments, EMO_DEFAULT_CLASSIFY_MODEL="nope") as process:
        assert process.stdout
        first, second = process.stdout.readline(), process.stdout.readline()
        process.terminate()
    assert first.startswith("emo-serve: toy-classifier 1, toy-detector 1 at http://127.0.0.1:")
    assert second.startswith("NOT READY: the default model for classify, 'nope', is not served. http://127.0.0.1:")


def test_where_keys_are_wanted_the_first_call_has_one(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    settings_for(tmp_path / "models")
    (tmp_path / "keys").write_text(f"alice:{'0' * 64}\n", encoding="utf-8")
    arguments = ("serve", "--workers", "1", "--port", "0", "--models", str(tmp_path / "models"))
    with emo_serve(*arguments, EMO_API_KEYS_FILE=str(tmp_path / "keys")) as process:
        assert process.stdout
        lines = process.stdout.readline(), process.stdout.readline()
        process.terminate()
    assert ' -H "Authorization: Bearer $KEY" http://127.0.0.1:' in lines[1]
