"""``emo-serve predict``: a model answers about files, in the order in which they are named."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from emo_serve.engine.host import usable_cores
from emo_serve.engine.registry.deployment import image_limits
from emo_serve.engine.repository.serving_config import DEFAULT
from emo_serve.errors import InvalidParameter, ServiceError, StartupError
from emo_serve.manifest import TASKS, Task, known_as
from emo_serve.offline.drawing import Drawings, refuse_folder_of_inputs
from emo_serve.offline.parameters import parameters_of, query_of
from emo_serve.offline.predictor import find_artefact, load_predictor
from emo_serve.offline.sources import Source, as_text, ask_about, find_sources, with_frames
from emo_serve.offline.table import lines_of
from emo_serve.prefetch import prefetch
from emo_serve.process.exit_codes import EXIT_FAILED_INPUTS, EXIT_OK, EXIT_STARTUP, EXIT_USAGE
from emo_serve.settings import Settings

if TYPE_CHECKING:
    from emo_client import ModelInfo

Row = dict[str, Any]
"""``input``, and the answer or ``error``."""


Ask = Callable[[bytes], Row]
"""An encoded picture -> its answer; raises ServiceError."""
_MOST_SENT_BYTES = 256 * 1024 * 1024


class _RefusedOption(Exception):
    """The server takes an option for no picture."""


def predict(options: argparse.Namespace, settings: Settings) -> int:
    """Answer about every picture; the exit code is 0, or 3 if the answer for one is an error.

    It is 1 if the model cannot be loaded or an argument names nothing, 2 for options that do not fit.
    """
    with ExitStack() as stack:
        try:
            found: Iterable[Source] = find_sources(options.inputs, left_out=options.save)
            if options.save:
                found = list(found)  # all of them are looked at before the first is drawn
                refuse_folder_of_inputs(options.save, found)
            ask, most = _from_model(options, settings) if options.url is None else _from_server(options, stack)
            drawings = Drawings(options.save, image_limits(settings)) if options.save else None
            sources = ((source, drawings.stem_for(source) if drawings else None) for source in with_frames(found))
            rows = prefetch(partial(_row, ask, most, drawings), sources, usable_cores())
            failed = _show(rows, as_json=options.json)
        except (InvalidParameter, _RefusedOption) as error:
            sys.stderr.write(f"emo-serve: {error}\n")
            return EXIT_USAGE
        except ValueError as error:  # of a list or a video
            sys.stderr.write(f"emo-serve: {error}\n")
            return EXIT_STARTUP
    return EXIT_FAILED_INPUTS if failed else EXIT_OK


def _show(rows: Iterator[Row], *, as_json: bool) -> int:
    """Write each row as it comes; returns how many are errors."""
    failed = 0
    for row in rows:
        failed += "error" in row
        sys.stdout.write(to_json(row).decode() + "\n" if as_json else lines_of(row))
        sys.stdout.flush()
    return failed


def _from_model(options: argparse.Namespace, settings: Settings) -> tuple[Ask, int]:
    """A model in this process, and the most bytes that it takes.

    Raises StartupError, or InvalidParameter for options that do not fit it.
    """
    artefact = find_artefact(settings, options.task, options.model)
    parameters = parameters_of(options, artefact.manifest.task, artefact.labels)
    predictor = load_predictor(artefact, settings)
    return lambda data: predictor.document(predictor.predict(data, parameters)), predictor.limits.max_bytes


def _from_server(options: argparse.Namespace, stack: ExitStack) -> tuple[Ask, int]:
    """A running server, which says itself how much it takes; raises StartupError if there is none.

    Raises InvalidParameter for options that do not fit; the function raises _RefusedOption for those of which only the
    server knows.
    """
    try:
        from emo_client import Client, EmoError, Problem  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        msg = "--url needs the package emo-client: pip install emo-client, or ./client in a checkout"
        raise StartupError(msg) from error
    if options.models is not None:
        msg = "--models and --url do not go together: a server has its own models"
        raise InvalidParameter(msg)
    try:
        client = stack.enter_context(Client(options.url))
        task = _task_of(client.models(), options.model, options.task)
    except ValueError as error:
        msg = f"--url: {error}"
        raise InvalidParameter(msg) from error
    except EmoError as error:
        msg = str(error) if options.url in str(error) else f"{options.url}: {error}"
        raise StartupError(msg) from error
    given = query_of(options, task)

    def ask(data: bytes) -> Row:
        if len(data) > _MOST_SENT_BYTES:
            msg = f"The image has more than {_MOST_SENT_BYTES} bytes, and so much is not sent."
            raise ServiceError(msg)
        try:
            return client.ask(task, data, given)
        except EmoError as error:
            if isinstance(error, Problem) and error.name == "invalid-parameter":
                raise _RefusedOption(str(error)) from error
            raise ServiceError(str(error)) from error

    return ask, _MOST_SENT_BYTES


def _row(ask: Ask, most: int, drawings: Drawings | None, item: tuple[Source, Path | None]) -> Row:
    """The row of a picture, which is drawn, where there are drawings, to a path that lacks only its suffix."""
    source, stem = item

    def answer(data: bytes) -> Row:
        document = ask(data)
        saved = {"saved": as_text(drawings.save(stem, data, document))} if drawings and stem else {}
        return {**document, **saved}

    found, error = ask_about(source, most, answer)
    return {"input": source.name, **found} if error is None else {"input": source.name, "error": error}


def _task_of(models: "list[ModelInfo]", wanted: str | None, task: Task | None) -> Task:
    """The task, or that of the model that is asked for; raises StartupError if nothing there answers."""
    tasks: dict[str, Task] = {model.name: known for model in models for known in TASKS if model.task == known}
    if wanted is None:
        task = task or "classify"
        if task not in tasks.values():
            msg = f"the server has no model for {task}"
            raise StartupError(msg)
        return task
    name, _, version = wanted.partition("@")
    name = known_as(name, tasks.keys())
    if name not in tasks:
        msg = f"the server has no model {name!r}; there are: {', '.join(sorted(tasks)) or 'none'}"
        raise StartupError(msg)
    if task not in (None, tasks[name]):
        msg = f"{name} is a model for {tasks[name]}, not for {task}"
        raise StartupError(msg)
    versions = [word for model in models if model.name == name for word in (model.version, *model.aliases)]
    if version and version not in (DEFAULT, *versions):
        msg = f"the server has no version {version!r} of {name}; there are: {', '.join(versions)}"
        raise StartupError(msg)
    return tasks[name]
