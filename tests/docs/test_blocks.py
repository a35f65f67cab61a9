"""A page whose blocks do not work is noticed, and where."""

from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks
from tests.docs.shell import follow
from tests.serving import running, settings_for

PAGE = """
# A page

```sh
kept=1
```

- A list

  ```console
  echo $kept
  ```

<!-- not run: needs Docker -->
```bash
docker run
```

<!-- run by tests/docs/test_blocks.py -->

```python
print("elsewhere")
```

Text between them:

```python
print("here")
```

```json
{}
```
"""


def test_blocks_are_found_in_lists_too_and_a_comment_speaks_of_the_next_one_only() -> None:
    assert list(blocks(PAGE)) == [
        Block(4, "sh", "kept=1\n", None),
        Block(10, "sh", "echo $kept\n", None),
        Block(15, "sh", "docker run\n", ("not run", "needs Docker")),
        Block(21, "python", 'print("elsewhere")\n', ("run by", "tests/docs/test_blocks.py")),
        Block(27, "python", 'print("here")\n', None),
    ]


def test_blocks_share_one_shell(tmp_path: Path) -> None:
    shell = follow([block for block in blocks(PAGE) if not block.exempt], tmp_path, 0)
    assert (shell.returncode, shell.stdout.split()) == (0, ["1", "here"])


@pytest.mark.parametrize(
    "code", ["curl localhost:8000/nothing", "curl localhost:8000/nothing | cat", "false", "emo-serve predict no.jpg"]
)
def test_what_fails_fails_the_page_at_its_line(code: str, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    failing = [Block(3, "sh", "true\n", None), Block(7, "sh", f"{code}\n", None), Block(11, "sh", "true\n", None)]
    with running(settings_for(tmp_path / "models")) as server:
        shell = follow(failing, tmp_path, server.port)
    assert shell.returncode != 0
    assert "line 7" in shell.stderr
    assert "line 11" not in shell.stderr


def test_a_warning_of_python_fails_the_page(tmp_path: Path) -> None:
    warns = Block(2, "python", "import warnings\nwarnings.warn('old', stacklevel=1)\n", None)
    assert follow([warns], tmp_path, 0).returncode != 0


def test_a_server_that_a_block_starts_answers_those_that_follow_and_ends_with_the_page(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    settings_for(tmp_path / "models")
    code = ("emo-serve serve\n", "curl localhost:8000/readyz\n", "cat serve.log\n")
    with running(settings_for(tmp_path / "models")) as server:
        port = server.port
    shell = follow([Block(line, "sh", text, None) for line, text in enumerate(code)], tmp_path, port)
    assert shell.returncode == 0, shell.stderr
    assert "toy-classifier" in shell.stdout
    assert follow([Block(1, "sh", "curl localhost:8000/livez\n", None)], tmp_path, port).returncode != 0
