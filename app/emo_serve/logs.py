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
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
"""The same of its trace, 32 hexadecimal digits; None where requests are not traced."""

_OF_EVERY_RECORD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_NOT_SHOWN = _OF_EVERY_RECORD | {"color_message"}  # uvicorn's own copy of the message, with colours


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, logger, message, request_id, trace_id, then the fields of ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without its newline; a traceback is in ``exception``, its line breaks escaped."""
        fields: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            fields["request_id"] = current
        if (traced := trace_id.get()) is not None:
            fields["trace_id"] = traced
        for name in filterfalse(_NOT_SHOWN.__contains__, record.__dict__):
            fields.setdefault(name, record.__dict__[name])
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return to_json(fields, inf_nan_mode="null", fallback=str).decode()


class TextFormatter(logging.Formatter):
    """One readable line: time of day, level, message, then the fields of ``extra``; a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; text from clients is escaped, so that it can neither start a line nor control the terminal."""
        extra = {name: value for name, value in record.__dict__.items() if name not in _NOT_SHOWN}
        if (current := request_id.get()) is not None:
            extra["request_id"] = current
        if (traced := trace_id.get()) is not None:
            extra["trace_id"] = traced
        message = _escaped(record.getMessage())
        if record.name == "emo_serve.access" and "duration_ms" in extra:
            message = f"{extra.pop('method')} {_value(extra.pop('path'))} {extra.pop('status')}"
        fields = "".join(f" {name}={_value(value)}" for name, value in extra.items() if value is not None)
        text = f"{datetime.fromtimestamp(record.created):%H:%M:%S.%f}"[:-3]  # noqa: DTZ006  local time, for the reader
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
    """Send all logs, those of uvicorn and warnings included, through one handler, as ``log_format`` says.

    To be called before the server starts, which must leave logging alone (``log_config=None``). uvicorn's own access
    log is disabled: ours has the request id and the timings.
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
                # They log every connection and every multipart chunk at debug and info.
                "asyncio": {"level": "WARNING"},
                "python_multipart": {"level": "WARNING"},
                # It logs headers of clients that it cannot read.
                "opentelemetry.trace": {"level": "ERROR"},
                # It logs broken pictures as errors, but those are the client's and become problem documents.
                "PIL": {"level": "CRITICAL"},
            },
        }
    )
    logging.captureWarnings(capture=True)
    # No line names its thread, process or task, so none of them is looked up.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
