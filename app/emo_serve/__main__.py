"""emo-serve: run the server, add and list models, ask them about files, measure how they run best here."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError
from pydantic_settings import SettingsError

from emo_serve import logs
from emo_serve.command_parser import command_parser
from emo_serve.defaults import keep_default
from emo_serve.engine.host import usable_cores
from emo_serve.engine.registry.default_models import configured_defaults
from emo_serve.environment import complaints, group_of, service_links
from emo_serve.errors import StartupError
from emo_serve.manifest import Task
from emo_serve.onnx_import.options import Options, usage_fault
from emo_serve.process.exit_codes import EXIT_INTERRUPTED, EXIT_OK, EXIT_STARTUP, EXIT_USAGE
from emo_serve.process.open_files import raise_file_limit
from emo_serve.process.supervisor import supervise
from emo_serve.settings import PREFIX, Settings, all_settings

SHIPPED_MODELS = Path(__file__).with_name("models")
_OFFLINE = {
    "predict": "predict",
    "batch": "batch",
    "models": "list_models",
    "doctor": "doctor",
    "promote": "promote",
    "rollout": "rollout",
}
"""Commands whose modules in ``emo_serve.offline`` have their names, and the functions there."""
_MAX_DEFAULT_WORKERS = 8  # each takes some 200 MB


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0 after a clean stop, 1 where the server cannot run, 2 for wrong usage."""
    _open_standard_streams()
    parser = command_parser()
    options = parser.parse_args(arguments)
    if options.command == "add" and (fault := usage_fault(options)):
        parser.error(fault)
    if options.command == "settings":
        _print(settings_table())
        return EXIT_OK
    if options.command == "completion":
        from emo_serve.completion import completion_script  # noqa: PLC0415  # serving does not need it

        _print([completion_script(parser, options.shell)])
        return EXIT_OK
    names = ("host", "port", "models", "workers", "log_level", "tune", "tune_goal", "api_keys_file", "admin_token_file")
    given = {name: getattr(options, name, None) for name in names}
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except (ValidationError, SettingsError) as error:
        for line in complaints(error, PREFIX, [variable for variable, _ in all_settings()]):
            sys.stderr.write(f"emo-serve: {line}\n")
        return EXIT_USAGE
    if options.command in {"serve", "tune"}:  # the others write for a person
        logs.configure(settings)
        if links := service_links(os.environ, PREFIX):
            text = "variables that Kubernetes sets for a Service are no settings (enableServiceLinks: false ends them)"
            logging.getLogger("emo_serve").warning(text, extra={"variables": links})
    try:
        return _run(options, settings)
    except (StartupError, OSError) as error:
        sys.stderr.write(f"emo-serve: {_said(error)}\n")
        return EXIT_STARTUP
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _said(error: Exception) -> str:
    """The error in words; of a file without Python's ``[Errno 17]``."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _run(options: argparse.Namespace, settings: Settings) -> int:
    match options.command:
        case "add":
            options.models = settings.models
            status = _add(options)
            _print([_default_line(settings, options.task, options.name)])
            return status
        case "key":
            return _new_key(options.name, settings.api_keys_file)
        case "tune":
            return _tune(_repository(settings), full=options.full, as_json=options.json)
        case "serve":
            return _serve(_repository(settings))
    try:
        status = _offline(options, with_models(settings))
        sys.stdout.flush()
    except BrokenPipeError:
        _leave_pipe()
        return EXIT_OK
    return status


def _offline(options: argparse.Namespace, settings: Settings) -> int:
    """Commands beside the server; serving needs none of their imports."""
    match options.command:
        case "sign":
            return _sign(options.folders, options.key, tuple(options.certificates))
        case "mcp":
            return _mcp(options.url, options.root)
    module = import_module(f"emo_serve.offline.{options.command}")
    run: Callable[[argparse.Namespace, Settings], int] = getattr(module, _OFFLINE[options.command])
    return run(options, settings)


def _mcp(url: str, root: Path) -> int:
    try:
        from emo_client.mcp_server import run  # noqa: PLC0415  # a package of its own
    except ModuleNotFoundError as error:
        msg = (
            "mcp needs the packages emo-client and mcp: pip install 'emo-client[mcp]', or './client[mcp]' in a checkout"
        )
        raise StartupError(msg) from error
    try:
        run(url, root)
    except ValueError as error:
        raise StartupError(str(error)) from error
    return EXIT_OK


def _repository(settings: Settings) -> Settings:
    """The settings as ``with_models`` has them; raises StartupError if there is no such folder."""
    settings = with_models(settings)
    if not settings.models.is_dir():
        msg = f"{settings.models}: there is no such folder; EMO_MODELS or --models names the model repository"
        raise StartupError(msg)
    return settings


def with_models(settings: Settings) -> Settings:
    """The settings, with the models of the package if ``models`` is neither set nor an existing folder."""
    is_named = "models" in settings.model_fields_set
    if is_named or settings.models.exists() or not SHIPPED_MODELS.is_dir():
        return settings
    return settings.model_copy(update={"models": SHIPPED_MODELS})


def _serve(settings: Settings) -> int:
    workers = workers_of(settings, usable_cores())
    settings = settings.model_copy(update={"workers": workers})
    raise_file_limit()
    if workers == 1:
        from emo_serve.process.server import serve  # noqa: PLC0415  # the supervisor needs none of its imports

        serve(settings)
    return supervise(settings)


def workers_of(settings: Settings, cores: int) -> int:
    """The number of worker processes."""
    return settings.workers or (min(cores, _MAX_DEFAULT_WORKERS) if settings.session.provider == "cpu" else 1)


def _tune(settings: Settings, *, full: bool, as_json: bool) -> int:
    from emo_serve.engine.tuning.command import tune  # noqa: PLC0415  # as above

    return tune(settings, full=full, as_json=as_json)


def _new_key(name: str, path: Path | None) -> int:
    """Write the key, and nothing else, to standard output, so that a program can read it."""
    from emo_serve.api.http.key_file import new_key  # noqa: PLC0415  as above

    key, line = new_key(name, path)
    note = f"{name} may ask with this key, which is nowhere kept; {path} holds its digest"
    if path is None:
        note = f"this key is nowhere kept; a file named by {PREFIX}API_KEYS_FILE lets it in with the line\n{line}"
    sys.stderr.write(f"emo-serve: {note}\n")
    _print([f"{key}\n"])
    return EXIT_OK


def _sign(folders: Sequence[Path], key: Path, certificates: tuple[Path, ...]) -> int:
    from emo_serve.engine.repository.artefacts import read_artefact  # noqa: PLC0415  as above
    from emo_serve.engine.repository.signature import sign  # noqa: PLC0415  as above

    for folder in folders:
        read_artefact(folder.resolve())  # nobody wants to sign a broken one
        _print([f"{sign(folder, key, certificates)}\n"])
    return EXIT_OK


def _add(given: argparse.Namespace) -> int:
    try:
        from emo_serve.onnx_import.command import add  # noqa: PLC0415  # needs a package that serving does not
        from emo_serve.onnx_import.hugging_face import fill_in  # noqa: PLC0415  # as above
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        msg = "add needs the package onnx: pip install 'emo-serve[add]', or `make setup-dev` in a checkout"
        raise StartupError(msg) from error
    with TemporaryDirectory() as fetched:
        if given.from_hf is not None:
            _print([f"{given.from_hf}: its configuration says: {fill_in(given, Path(fetched))}\n"])
        return add(Options.of(given))


def _default_line(settings: Settings, task: Task, added: str) -> str:
    line = keep_default(settings.models, task, added)
    chosen = configured_defaults(settings)[task]
    return f"{line}\n" if chosen is None else f"{line}; here {PREFIX}DEFAULT_{task.upper()}_MODEL says {chosen}\n"


def settings_table() -> Iterator[str]:
    """One paragraph for each setting: its environment variable, its default and its description."""
    for variable, field in all_settings():
        if group_of(field) is None:
            default = "unset" if field.default is None else field.default
            yield f"{variable} ({default})\n    {field.description}\n"


def _print(lines: Iterable[str]) -> None:
    """Write to standard output."""
    try:
        sys.stdout.writelines(lines)
        sys.stdout.flush()
    except BrokenPipeError:
        _leave_pipe()


def _leave_pipe() -> None:
    """A reader that closed the pipe early (``| head``) is no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit


def _open_standard_streams() -> None:
    """Let streams that the caller closed (``>&-``) be empty: else the next file that is opened takes their place."""
    streams = {"stdin": sys.stdin, "stdout": sys.stdout, "stderr": sys.stderr}  # in the order of their numbers
    for name, stream in streams.items():
        if stream is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: PTH123, SIM115


if __name__ == "__main__":
    sys.exit(main())
