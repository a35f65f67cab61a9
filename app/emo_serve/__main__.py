"""emo-serve: run the server, add a model, measure how it runs best here, or list its settings."""

import argparse
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import SettingsError

from emo_serve import logs
from emo_serve.defaults import keep_default
from emo_serve.engine.host import usable_cores
from emo_serve.environment import complaints, group_of
from emo_serve.errors import StartupError
from emo_serve.manifest import Task
from emo_serve.offline.arguments import add_batch_arguments, add_predict_arguments
from emo_serve.onnx_import.options import Options, add_arguments
from emo_serve.process.exit_codes import EXIT_INTERRUPTED, EXIT_OK, EXIT_STARTUP, EXIT_USAGE
from emo_serve.process.open_files import raise_file_limit
from emo_serve.process.supervisor import supervise
from emo_serve.settings import PREFIX, Settings, all_settings, service_links
from emo_serve.version import installed_version

SHIPPED_MODELS = Path(__file__).with_name("models")
_MAX_DEFAULT_WORKERS = 8  # each takes some 200 MB


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0 after a clean stop, 1 where the server cannot run, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    if options.command == "settings":
        _print(settings_table())
        return EXIT_OK
    names = ("host", "port", "models", "workers", "log_level", "tune", "tune_goal", "api_keys_file")
    given = {name: getattr(options, name, None) for name in names}
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except (ValidationError, SettingsError) as error:
        for line in complaints(error, PREFIX, [variable for variable, _ in all_settings()]):
            sys.stderr.write(f"emo-serve: {line}\n")
        return EXIT_USAGE
    if options.command not in {"add", "key"}:  # both write for a person
        logs.configure(settings)
        if links := service_links(os.environ):
            text = "variables that Kubernetes sets for a Service are no settings (enableServiceLinks: false ends them)"
            logging.getLogger("emo_serve").warning(text, extra={"variables": links})
    try:
        return _run(options, settings)
    except (StartupError, OSError) as error:
        sys.stderr.write(f"emo-serve: {error}\n")
        return EXIT_STARTUP
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _run(options: argparse.Namespace, settings: Settings) -> int:
    match options.command:
        case "add":
            options.models = settings.models
            status = _add(Options.of(options))
            _print([_default_line(settings, options.task, options.name)])
            return status
        case "key":
            return _new_key(options.name, settings.api_keys_file)
        case "tune":
            return _tune(with_models(settings), full=options.full, as_json=options.json)
        case "predict":
            from emo_serve.offline.predict import predict  # noqa: PLC0415  # serving needs none of it

            return predict(options, with_models(settings))
        case "batch":
            from emo_serve.offline.batch import batch  # noqa: PLC0415  # as above

            return batch(options, with_models(settings))
    return _serve(with_models(settings))


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


def _add(options: Options) -> int:
    try:
        from emo_serve.onnx_import.command import add  # noqa: PLC0415  # needs a package that serving does not
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        msg = "add needs the package onnx: pip install 'emo-serve[add]', or `make setup-dev` in a checkout"
        raise StartupError(msg) from error
    return add(options)


def _default_line(settings: Settings, task: Task, added: str) -> str:
    line = keep_default(settings.models, task, added)
    chosen = {"classify": settings.default_classify_model, "detect": settings.default_detect_model}.get(task)
    return f"{line}\n" if chosen is None else f"{line}; here {PREFIX}DEFAULT_{task.upper()}_MODEL says {chosen}\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="emo-serve", description="Serve image classifiers and object detectors over HTTP."
    )
    parser.add_argument("--version", action="version", version=f"emo-serve {installed_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve",
        help="run the server",
        description="Options win over EMO_* variables; `emo-serve settings` lists those.",
    )
    serve.add_argument("--host", help="address to listen on (EMO_HOST)")
    serve.add_argument("--port", type=int, help="TCP port, 0 for any free one (EMO_PORT)")
    serve.add_argument("--models", type=Path, metavar="DIR", help="folder of the model repository (EMO_MODELS)")
    serve.add_argument("--workers", type=int, help="processes that answer (EMO_WORKERS)")
    serve.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="(EMO_LOG_LEVEL)")
    serve.add_argument(
        "--no-tune", dest="tune", action="store_const", const=False, help="measure nothing at start (EMO_TUNE=false)"
    )
    adding = commands.add_parser(
        "add",
        help="add an ONNX classifier or detector to the model repository",
        description="Recognises what the graph wants and gives, wraps it so that the server can serve it, tries it on "
        "a picture and writes <models>/<name>/<version>. What is recognised is said, with the option that mends it.",
    )
    add_arguments(adding)
    adding.add_argument("--models", type=Path, metavar="DIR", help="folder of the model repository (EMO_MODELS)")
    predicting = commands.add_parser(
        "predict",
        help="classify pictures, or find objects in them, without a server",
        description="Prints the answer about each picture, in the order in which they are named. The exit code is 3 if "
        "one of them cannot be answered.",
    )
    add_predict_arguments(predicting)
    batching = commands.add_parser(
        "batch",
        help="the same for folders of any size, in all cores, into files",
        description="Writes a row for each picture, with an error where there is no answer, into files of --shard-size "
        "rows. Run again with the same options, it computes the files that are missing. Ctrl-C or SIGTERM lets those "
        "that were begun be finished.",
    )
    add_batch_arguments(batching)
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
    keys = commands.add_parser("key", help="make an API key").add_subparsers(dest="action", required=True)
    new = keys.add_parser(
        "new",
        help="make a key for a name, and let it in",
        description="Prints the key and adds its digest to the file of API keys, which a running server reads again.",
    )
    new.add_argument("name", metavar="NAME", help="who asks with it: the client that takes turns, and in the log")
    new.add_argument(
        "--file", dest="api_keys_file", type=Path, help="file of API keys, made where there is none (EMO_API_KEYS_FILE)"
    )
    commands.add_parser("settings", help="list every setting with its default")
    return parser


def settings_table() -> Iterator[str]:
    """One paragraph for each setting: its environment variable, its default and its description."""
    for variable, field in all_settings():
        if group_of(field) is None:
            default = "unset" if field.default is None else field.default
            yield f"{variable} ({default})\n    {field.description}\n"


def _print(lines: Iterable[str]) -> None:
    """Write to standard output; a reader that closes the pipe early (``| head``) is no error."""
    try:
        sys.stdout.writelines(lines)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit


if __name__ == "__main__":
    sys.exit(main())
