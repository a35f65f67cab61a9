"""emo-serve: run the server, measure how it runs best here, or list its settings."""

import argparse
import asyncio
import contextlib
import math
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from app import logs
from app.api.services import Services
from app.errors import StartupError
from app.main import create_app
from app.settings import NESTED, PREFIX, Settings, all_settings, group_of
from app.tune import tune

EXIT_STARTUP = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0 after a clean stop, 1 where the server cannot run, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    if options.command == "settings":
        _print(settings_table())
        return 0
    names = ("host", "port", "models", "log_level", "tune", "tune_goal")
    given = {name: getattr(options, name, None) for name in names}
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        for entry in error.errors():
            place = NESTED.join(map(str, entry["loc"])).upper()
            fault = entry["msg"].removeprefix("Value error, ")
            sys.stderr.write(f"emo-serve: {PREFIX + place + ': ' if place else ''}{fault}\n")
        return EXIT_USAGE
    logs.configure(settings)
    try:
        if options.command == "tune":
            return tune(settings, full=options.full, as_json=options.json)
        with asyncio.Runner(loop_factory=uvicorn.Config("", loop="auto", log_config=None).get_loop_factory()) as runner:
            return runner.run(_serve(settings))
    except (StartupError, OSError) as error:
        sys.stderr.write(f"emo-serve: {error}\n")
        return EXIT_STARTUP
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="emo-serve", description="Serve image classifiers and object detectors over HTTP."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve",
        help="run the server",
        description="Options win over EMO_* variables; `emo-serve settings` lists those.",
    )
    serve.add_argument("--host", help="address to listen on (EMO_HOST)")
    serve.add_argument("--port", type=int, help="TCP port, 0 for any free one (EMO_PORT)")
    serve.add_argument("--models", type=Path, metavar="DIR", help="folder of the model repository (EMO_MODELS)")
    serve.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="(EMO_LOG_LEVEL)")
    serve.add_argument(
        "--no-tune", dest="tune", action="store_const", const=False, help="measure nothing at start (EMO_TUNE=false)"
    )
    measure = commands.add_parser(
        "tune",
        help="measure how the models run best here",
        description="Measures each model as a start would, prints what was measured and chosen, and remembers the "
        "choice for the next start. EMO_* variables that are set are fixed, and only the rest is searched.",
    )
    measure.add_argument("--models", type=Path, metavar="DIR", help="folder of the model repository (EMO_MODELS)")
    measure.add_argument(
        "--goal", dest="tune_goal", choices=("throughput", "latency"), help="what to be best for (EMO_TUNE_GOAL)"
    )
    measure.add_argument("--full", action="store_true", help="measure every setting at length: minutes, not seconds")
    measure.add_argument("--json", action="store_true", help="print JSON")
    commands.add_parser("settings", help="list every setting with its default")
    return parser


def settings_table() -> Iterator[str]:
    """One paragraph a setting: its environment variable, its default and what it does."""
    for variable, field in all_settings():
        if group_of(field) is None:
            default = "unset" if field.default is None else field.default
            yield f"{variable} ({default})\n    {field.description}\n"


def _print(lines: Iterable[str]) -> None:
    """Write to standard output; a reader that has seen enough (``| head``) is no error."""
    try:
        sys.stdout.writelines(lines)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit


async def _serve(settings: Settings) -> int:
    """Load the models, serve until a signal comes, drain; raises StartupError or OSError where that cannot begin."""
    app = create_app(settings)
    with _bound_socket(settings.host, settings.port) as listener:
        # The lifespan is run here and not by uvicorn, so that a StartupError arrives as it is, without a traceback.
        async with app.router.lifespan_context(app):
            services: Services = app.state.services
            await _Server(app, services).serve([listener])
            return 0 if services.catalog.alive else EXIT_STARTUP


def _bound_socket(host: str, port: int) -> socket.socket:
    """A socket that holds the address but does not listen yet, so that clients are refused while models load."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        msg = f"cannot listen on {host} port {port}: {error.strerror}"
        raise OSError(msg) from error
    return listener


class _Server(uvicorn.Server):
    """uvicorn, told by a signal to drain; it says so in /readyz and ends with exit code 0."""

    def __init__(self, app: FastAPI, services: Services) -> None:
        settings = services.settings
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=settings.keep_alive_seconds,
                timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
            )
        )
        self._services = services

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say where."""
        await super().startup(sockets)
        sys.stdout.write(_welcome(self._services, *(sockets or [])[0].getsockname()[:2]))
        sys.stdout.flush()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike the original, do not raise the signal again when the server has stopped: the models have not yet."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain."""
        self._services.drain.set()
        super().handle_exit(sig, frame)


def _welcome(services: Services, host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    url = f"http://{shown}:{port}"
    models = ", ".join(f"{entry.manifest.name} {entry.manifest.version}" for entry in services.catalog.all())
    return (
        f"emo-serve: {models} at {url} (documentation: {url}/docs)\n"
        f"Try: curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' {url}/classify\n"
    )


if __name__ == "__main__":
    sys.exit(main())
