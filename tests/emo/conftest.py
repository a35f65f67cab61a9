"""The tests of the PyTorch side."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Where PyTorch is not asked for these files are not even imported, as they cannot be without it."""
    return True if config.option.markexpr == "not torch" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them are marked."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.torch)


@pytest.fixture
def quick_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what stands around the graph in an artefact: the graph itself is made in a tenth of the time.

    It is compared with PyTorch all the same, and the server that reads it knows no difference.
    """
    from tests.emo.exporting import write_quickly  # noqa: PLC0415  it needs PyTorch, and this file must not

    monkeypatch.setattr("emo.export.exporter.write_onnx", write_quickly)
