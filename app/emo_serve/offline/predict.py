"""``emo-serve predict``: a model answers about files, in the order in which they are named."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from emo_serve.engine.host import usable_cores
from emo_serve.errors import InvalidParameter, ServiceError, StartupError
from emo_serve.offline.drawing import Drawings
from emo_serve.offline.parameters import parameters_of
from emo_serve.offline.predictor import Predictor, find_artefact, load_predictor
from emo_serve.offline.sources import Source, find_sources
from emo_serve.offline.table import lines_of
from emo_serve.prefetch import prefetch
from emo_serve.process.exit_codes import EXIT_FAILED_INPUTS, EXIT_OK, EXIT_STARTUP, EXIT_USAGE
from emo_serve.settings import Settings
from emo_serve.vision.results import Parameters

Row = dict[str, Any]
"""``input``, and the answer or ``error``."""


def predict(options: argparse.Namespace, settings: Settings) -> int:
    """Answer about every picture; the exit code is 0, or 3 if the answer for one is an error.

    It is 1 if the model cannot be loaded or an argument names nothing, 2 for options that do not fit the model.
    """
    artefact = find_artefact(settings.models, options.task, options.model)
    try:
        parameters = parameters_of(options, artefact.manifest.task, artefact.labels)
    except InvalidParameter as error:
        sys.stderr.write(f"emo-serve: {error}\n")
        return EXIT_USAGE
    predictor = load_predictor(artefact, settings)
    drawings = Drawings(options.save, predictor) if options.save else None
    work = partial(_answer, predictor, parameters, drawings)
    show: Callable[[Row], str] = _json_line if options.json else lines_of
    failed = 0
    try:
        sources = ((source, drawings and drawings.place(source)) for source in find_sources(options.inputs))
        for row in prefetch(work, sources, usable_cores()):
            failed += "error" in row
            sys.stdout.write(show(row))
            sys.stdout.flush()
    except (OSError, ValueError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        sys.stderr.write(f"emo-serve: {error}\n")
        return EXIT_STARTUP
    return EXIT_FAILED_INPUTS if failed else EXIT_OK


def _answer(
    predictor: Predictor, parameters: Parameters, drawings: Drawings | None, item: tuple[Source, Path | None]
) -> Row:
    source, place = item
    try:
        data = source.read(predictor.limits.max_bytes)
        prediction = predictor.predict(data, parameters)
        saved = {"saved": str(drawings.save(place, data, prediction))} if drawings and place else {}
    except (ServiceError, StartupError) as error:
        return {"input": source.name, "error": str(error)}
    except OSError as error:
        return {"input": source.name, "error": f"cannot be read: {error.strerror or error}"}
    return {"input": source.name, **predictor.document(prediction), **saved}


def _json_line(row: Row) -> str:
    return to_json(row).decode() + "\n"
