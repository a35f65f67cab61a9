"""Logging on standard error, each line with the id of its request: JSON for machines, words for a terminal."""

import logging
import logging.config
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import filterfalse

from pydantic_core import to_json

from emo_serve.settings import Settings

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that the current task works for; set by the API, read by every log line."""

_OF_EVERY_RECORD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_NOT_SHOWN = _OF_EVERY_RECORD | {"color_message"}  # uvicorn's own message again, for its own formatter


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, logger, message, request_id, then whatever came as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end; a traceback stands in ``exception``, its line breaks escaped."""
        fields: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            fields["request_id"] = current
        for name in filterfalse(_NOT_SHOWN.__contains__, record.__dict__):
            fields.setdefault(name, record.__dict__[name])
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return to_json(fields, inf_nan_mode="null", fallback=str).decode()


class TextFormatter(logging.Formatter):
    """One line for people: time of day, level, message, then whatever came as ``extra``; a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; nothing that a client sent can begin another or steer the terminal."""
        extra = {name: value for name, value in record.__dict__.items() if name not in _NOT_SHOWN}
        if (current := request_id.get()) is not None:
            extra["request_id"] = current
        message = _escaped(record.getMessage())
        if record.name == "emo_serve.access" and "duration_ms" in extra:
            message = f"{extra.pop('method')} {_value(extra.pop('path'))} {extra.pop('status')}"
        fields = "".join(f" {name}={_value(value)}" for name, value in extra.items() if value is not None)
        text = f"{datetime.fromtimestamp(record.created):%H:%M:%S.%f}"[:-3]  # noqa: DTZ006  the time of who looks at it
        text += f" {record.levelname.lower():7} {message}{fields}"
        if record.exc_info:
            text += "".join(f"\n  {_escaped(line)}" for line in self.formatException(record.exc_info).splitlines())
        return text


def _value(value: object) -> str:
    text = str(value)
    return _escaped(text) if text and " " not in text and '"' not in text else f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def configure(settings: Settings) -> None:
    """Send everything, uvicorn and warnings included, through one handler, as ``log_format`` says.

    To be called before the server starts, which must be told to leave logging alone (``log_config=None``). uvicorn's
    own access log is switched off: ours carries the request id and the timings.
    """
    is_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    formatter = TextFormatter if is_text else JsonFormatter
    through_root = {"handlers": [], "propagate": True, "level": "NOTSET"}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"lines": {"()": formatter}},
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": "lines", "stream": "ext://sys.stderr"}
            },
            "root": {"level": settings.log_level.upper(), "handlers": ["stderr"]},
            "loggers": {
                "uvicorn": through_root,
                "uvicorn.error": through_root,
                "uvicorn.access": {"handlers": [], "propagate": False},
                # They talk at debug and info about every connection and every multipart chunk.
                "asyncio": {"level": "WARNING"},
                "python_multipart": {"level": "WARNING"},
                # It logs broken pictures as errors; that is the client's fault and becomes its problem document.
                "PIL": {"level": "CRITICAL"},
            },
        }
    )
    logging.captureWarnings(capture=True)
    # No line says which thread, process or task wrote it: nothing has to find out.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
