"""Logging as JSON lines on standard error, each with the id of the request it belongs to."""

import logging
import logging.config
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import filterfalse

from pydantic_core import to_json

from app.settings import Settings

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that the current task works for; set by the API, read by every log line."""

_OF_EVERY_RECORD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


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
        for name in filterfalse(_OF_EVERY_RECORD.__contains__, record.__dict__):
            fields.setdefault(name, record.__dict__[name])
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return to_json(fields, inf_nan_mode="null", fallback=str).decode()


def configure(settings: Settings) -> None:
    """Send everything, uvicorn and warnings included, through one JSON handler.

    To be called before the server starts, which must be told to leave logging alone (``log_config=None``). uvicorn's
    own access log is switched off: ours carries the request id and the timings.
    """
    through_root = {"handlers": [], "propagate": True, "level": "NOTSET"}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": JsonFormatter}},
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
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
