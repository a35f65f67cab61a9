"""One model of the repository in this process: encoded picture -> prediction."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo_serve.api.wire.serialization import serialize_prediction
from emo_serve.defaults import DEFAULTS_FILE, choose_default, parse_defaults
from emo_serve.engine.execution.pipeline import Pipeline
from emo_serve.engine.execution.session import Run, Session, infer, open_session
from emo_serve.engine.execution.tasks import task_for
from emo_serve.engine.registry.default_models import configured_defaults
from emo_serve.engine.registry.deployment import image_limits
from emo_serve.engine.registry.self_test import self_test
from emo_serve.engine.repository.artefacts import (
    SERVING_CONFIG_FILE,
    Artefact,
    RepositoryState,
    read_artefact,
    scan_state,
)
from emo_serve.engine.repository.serving_config import DEFAULT, ServingConfig, parse_serving_config, resolve_version
from emo_serve.engine.scheduling.job import Job
from emo_serve.errors import InvalidManifest, StartupError
from emo_serve.manifest import MANIFEST_FILE, Task, known_as, read_manifest
from emo_serve.settings import Settings
from emo_serve.vision.image import ImageLimits
from emo_serve.vision.results import Parameters, Prediction


@dataclass(frozen=True, slots=True)
class Predictor:
    """A loaded model; called from any number of threads."""

    artefact: Artefact
    limits: ImageLimits
    session: Session
    pipeline: Pipeline

    def predict(self, data: bytes, parameters: Parameters) -> Prediction:
        """The prediction for an encoded picture; raises as ``Pipeline``, and InferenceFailed."""
        job = Job(data, parameters)
        prepared = self.pipeline.prepare(job)
        computed = infer(self.session, [prepared.tensor])
        return self.pipeline.finish(job, prepared, Run(computed.outputs[0], 0.0, computed.started_at, computed.seconds))

    def document(self, prediction: Prediction) -> dict[str, Any]:
        """The answer as the server writes it: ClassifyAnswer, DetectAnswer (xyxy in pixels) or SegmentAnswer."""
        return serialize_prediction(self.artefact.manifest, self.artefact.labels, prediction)


def load_predictor(artefact: Artefact, settings: Settings) -> Predictor:
    """Load the model and check its golden pair; raises StartupError, which names the file."""
    limits = image_limits(settings)
    session = open_session(artefact, settings)
    self_test(artefact, session, limits, 1, times=1)
    return Predictor(artefact, limits, session, Pipeline(artefact.manifest.preprocessing, limits, task_for(artefact)))


def find_artefact(settings: Settings, task: Task | None, name: str | None) -> Artefact:
    """The model ``name`` (or ``name@version``), else the default for the task, with all its files checked.

    Without a version it is the one that a server answers with. Raises StartupError, which names what is there.
    """
    artefact = read_artefact(find_folder(settings, task, name), settings.require_signature)
    if task not in (None, artefact.manifest.task):
        msg = f"{artefact.manifest.name} is a model for {artefact.manifest.task}, not for {task}"
        raise StartupError(msg)
    return artefact


def find_folder(settings: Settings, task: Task | None, name: str | None) -> Path:
    """The version folder of that model, unread; raises StartupError, which names what is there."""
    root = settings.models
    state = scan_state(root)
    versions = _versions(state)
    wanted, _, version = (name or _default(state, versions, task or "classify", settings)).partition("@")
    wanted = known_as(wanted, list(versions))
    if wanted not in versions:
        msg = f"{root} has no model {wanted!r}; there are: {', '.join(sorted(versions)) or 'none'}"
        raise StartupError(msg)
    return root / wanted / _version(state, root / wanted, versions[wanted], version)


def _versions(state: RepositoryState) -> Mapping[str, list[Path]]:
    """The version folders of each model, the highest last."""
    versions: dict[str, list[Path]] = {}
    for folder in state.versions:
        versions.setdefault(folder.parent.name, []).append(folder)
    return versions


def _default(state: RepositoryState, versions: Mapping[str, list[Path]], task: Task, settings: Settings) -> str:
    """The default model's name: from the settings, else from the repository."""
    if configured := configured_defaults(settings)[task]:
        return configured
    root = settings.models
    names = {name for name, folders in versions.items() if any(_task_of(folder) == task for folder in folders)}
    default = choose_default(task, names, parse_defaults(root / DEFAULTS_FILE, state.defaults))
    if default is None:
        there_are = f"there are: {', '.join(sorted(names))}" if names else f"{root} has no model for it"
        msg = f"no model is the default for {task}; {there_are}"
        raise StartupError(msg)
    return default


def _task_of(folder: Path) -> Task | None:
    try:
        return read_manifest(folder / MANIFEST_FILE).task
    except InvalidManifest:
        return None


def _version(state: RepositoryState, folder: Path, versions: list[Path], wanted: str) -> str:
    """The version or alias, else the default."""
    path = folder / SERVING_CONFIG_FILE
    text = state.serving_configs.get(path)
    config = ServingConfig() if text is None else parse_serving_config(path, text)
    names = [version.name for version in versions if version.name not in config.unloaded]
    chosen = resolve_version(wanted or None, names, config.aliases)
    if chosen is None:
        there_are = ", ".join((*names, *sorted(config.aliases)))
        msg = f"{folder.name} has no version {wanted or DEFAULT!r}; there are: {there_are}"
        raise StartupError(msg)
    return chosen
