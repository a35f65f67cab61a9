"""What the command says when it has started."""

from pathlib import Path

import pytest

from tests.serving import emo_serve, settings_for


def first_lines(folder: Path, workers: str, **environment: str) -> tuple[str, str]:
    """Of a server with toy models in the folder."""
    settings_for(folder)
    arguments = ("serve", "--workers", workers, "--port", "0", "--models", str(folder))
    with emo_serve(*arguments, **environment) as process:
        assert process.stdout
        lines = process.stdout.readline(), process.stdout.readline()
        process.terminate()
    return lines


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_answers_but_is_not_ready_says_so_instead_of_how_to_ask(tmp_path: Path, workers: str) -> None:
    first, second = first_lines(tmp_path, workers, EMO_DEFAULT_CLASSIFY_MODEL="nope")
    assert first.startswith("emo-serve: toy-classifier 1, toy-detector 1 at http://127.0.0.1:")
    assert second.startswith("NOT READY: the default model for classify, 'nope', is not served. http://127.0.0.1:")


def test_where_keys_are_wanted_the_first_call_has_one(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "keys").write_text(f"alice:{'0' * 64}\n", encoding="utf-8")
    _, second = first_lines(tmp_path / "models", "1", EMO_API_KEYS_FILE=str(tmp_path / "keys"))
    assert ' -H "Authorization: Bearer $KEY" http://127.0.0.1:' in second
