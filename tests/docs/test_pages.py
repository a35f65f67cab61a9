"""What a page tells its readers to type works when it is typed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import REASONS, ROOT, Block, blocks, pages
from tests.docs.scratch import write_scratch
from tests.docs.shell import follow, starts_a_server
from tests.serving import Running, free_port, running, settings_for

PAGES = {
    page.relative_to(ROOT).as_posix(): found for page in pages() if (found := list(blocks(page.read_text("utf-8"))))
}


def typed(page: str) -> list[Block]:
    return [block for block in PAGES[page] if not block.exempt]


def marks(page: str) -> list[pytest.MarkDecorator]:
    """PyTorch's mark for a page that needs it."""
    needs = any("-m emo" in block.code or "import emo\n" in block.code for block in typed(page))
    return [pytest.mark.torch] if needs else []


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scratch")
    write_scratch(folder)
    return folder


@pytest.fixture(scope="module")
def server(scratch: Path) -> Iterator[Running]:
    with running(settings_for(scratch / "models")) as server:
        yield server


@pytest.mark.parametrize("page", [pytest.param(page, marks=marks(page)) for page in PAGES if typed(page)])
def test_the_blocks_of_a_page_run_as_they_stand(page: str, scratch: Path, server: Running, tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    shutil.copytree(scratch, folder, symlinks=True)
    port = free_port() if starts_a_server(typed(page)) else server.port
    shell = follow(typed(page), folder, port)
    assert shell.returncode == 0, f"{page}, the block in the last of these lines\n{shell.stderr}\n{shell.stdout}"


@pytest.mark.parametrize("page", PAGES)
def test_a_block_that_is_not_run_says_why(page: str) -> None:
    for block in PAGES[page]:
        match block.exempt:
            case ("not run", reason):
                assert reason in REASONS, f"{page}, line {block.line}: not run because of one of {REASONS}"
            case ("run by", test):
                source = ROOT / test
                assert source.is_file(), f"{page}, line {block.line}"
                assert page in source.read_text(encoding="utf-8"), f"{test} does not read {page}"


def test_every_reason_is_needed() -> None:
    given = {block.exempt[1] for found in PAGES.values() for block in found if block.exempt}
    assert set(REASONS) <= given
