import json
import logging
import re
import sys
import warnings

import pytest

from emo_serve.logs import JsonFormatter, TextFormatter, configure, request_id
from emo_serve.settings import Settings


def line(**extra: object) -> dict[str, object]:
    record = logging.LogRecord("emo_serve.engine", logging.WARNING, __file__, 1, "batch of %d", (3,), None)
    record.__dict__.update(extra)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    fields = json.loads(text)
    assert isinstance(fields, dict)
    return fields


def test_a_line_says_when_who_and_what() -> None:
    fields = line()
    assert str(fields.pop("ts")).endswith("+00:00")
    assert fields == {"level": "warning", "logger": "emo_serve.engine", "message": "batch of 3"}


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


def words(message: str = "batch of %d", *arguments: object, name: str = "emo_serve.engine", **extra: object) -> str:
    record = logging.LogRecord(name, logging.WARNING, __file__, 1, message, arguments, None)
    record.__dict__.update(extra)
    return TextFormatter().format(record)


def test_uvicorns_second_message_is_in_no_line() -> None:
    assert "color_message" not in line(color_message="Started \x1b[36m%d")
    assert "color" not in words("Started %d", 3, color_message="Started \x1b[36m%d")


def test_a_line_for_people_has_time_level_message_and_what_came_with_it() -> None:
    text = words("serving %s", "it", model="toy", reason="it is so", key=None, stages={"decode": 0.1})
    stamp, rest = text.split(" ", 1)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", stamp)
    assert rest == 'warning serving it model=toy reason="it is so" stages="{\'decode\': 0.1}"'


def test_a_request_is_told_by_its_method_path_and_status() -> None:
    token = request_id.set("abc")
    try:
        text = words(
            "request", name="emo_serve.access", method="GET", path="/models", status=200, duration_ms=1.5, images=0
        )
    finally:
        request_id.reset(token)
    assert text.endswith(" warning GET /models 200 duration_ms=1.5 images=0 request_id=abc")


@pytest.mark.parametrize("evil", ["/a\n12:00:00 error all is lost", "/\x1b[2J", "/\r\u2028", "/\x07 \x9b"])
def test_what_a_client_sends_begins_no_line_and_steers_no_terminal(evil: str) -> None:
    text = words("request", name="emo_serve.access", method="GET", path=evil, status=404, duration_ms=1.5)
    assert len(text.splitlines()) == 1
    assert text.isprintable()
    assert words("%s", evil).isprintable()


def test_a_traceback_for_people_stands_below_its_line() -> None:
    try:
        int("first\x1b[2Jsecond")
    except ValueError:
        text = words(exc_info=sys.exc_info(), message="failed")
    first, *below = text.splitlines()
    assert first.endswith("warning failed")
    assert below[0] == "  Traceback (most recent call last):"
    assert "\x1b" not in text


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize(
    ("log_format", "is_terminal", "is_json"),
    [("auto", True, False), ("auto", False, True), ("text", False, False), ("json", True, True)],
)
def test_lines_are_for_people_on_a_terminal_unless_said_otherwise(
    log_format: str,
    is_terminal: bool,
    is_json: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    configure(Settings.model_validate({"log_format": log_format}))
    logging.getLogger("app").info("started")
    assert capsys.readouterr().err.startswith("{") == is_json


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
