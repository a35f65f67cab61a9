import json
import logging
import sys
import warnings
from collections.abc import Iterator

import pytest

from app.logs import JsonFormatter, configure, request_id
from app.settings import Settings


def line(**extra: object) -> dict[str, object]:
    record = logging.LogRecord("app.engine", logging.WARNING, __file__, 1, "batch of %d", (3,), None)
    record.__dict__.update(extra)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    fields = json.loads(text)
    assert isinstance(fields, dict)
    return fields


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_a_line_says_when_who_and_what() -> None:
    fields = line()
    assert str(fields.pop("ts")).endswith("+00:00")
    assert fields == {"level": "warning", "logger": "app.engine", "message": "batch of 3"}


def test_the_request_id_of_the_context_is_in_the_line() -> None:
    token = request_id.set("abc")
    try:
        assert line()["request_id"] == "abc"
    finally:
        request_id.reset(token)


def test_extra_fields_are_kept_and_cannot_replace_our_own() -> None:
    fields = line(model="toy", level="mine", stages={"decode": 0.1}, path=object())
    assert (fields["model"], fields["level"], fields["stages"]) == ("toy", "warning", {"decode": 0.1})


def test_a_traceback_stays_on_its_line() -> None:
    try:
        int("first\nsecond")
    except ValueError:
        fields = line(exc_info=sys.exc_info())
    assert "Traceback" in str(fields["exception"])
    assert r"first\nsecond" in str(fields["exception"])


@pytest.mark.usefixtures("restored_logging")
def test_uvicorn_and_warnings_go_through_the_same_handler(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings(log_level="info"))
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("uvicorn.access").info("GET /")
    logging.getLogger("app").debug("too low")
    logging.getLogger("PIL.TiffImagePlugin").error("more samples per pixel than can be decoded")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", UserWarning, stacklevel=1)
    lines = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert [entry["logger"] for entry in lines] == ["uvicorn.error", "py.warnings"]
    assert lines[0]["message"] == "started"
