"""JSON schemas of the responses about models and workers: /models, the administration and the health probes."""

from typing import Any, Literal

from pydantic import Field

from emo_serve.api.wire.schemas import Schema
from emo_serve.manifest import Task


class InputSize(Schema):
    """Size in pixels of the network input."""

    width: int
    height: int


class ModelSummary(Schema):
    """Summary of one served model."""

    name: str
    version: str
    task: Task
    digest: str = Field(description="SHA-256 of its manifest, which lists those of its files.")
    default: bool = Field(description="Whether it answers where the client names no model.")
    ready: bool
    aliases: list[str] = Field(description="Words that `version` may give for this version.")
    labels: int = Field(description="How many classes it knows.")
    input: InputSize
    architecture: str
    metrics: dict[str, float]
    intended_use: str


class ModelFailure(Schema):
    """A model in the repository that is not served."""

    path: str
    reason: str


class ModelList(Schema):
    """Served models, and models that are not served."""

    models: list[ModelSummary]
    failures: list[ModelFailure]


class ModelDescription(Schema):
    """Full description of one served model."""

    versions: list[str] = Field(description="All served versions of this name.")
    default: bool
    ready: bool
    labels: list[str] = Field(description="Names of the classes; the position is the class id.")
    manifest: dict[str, Any] = Field(description="manifest.json without its golden pair.")


class LoadedVersion(Schema):
    """One version that a worker serves."""

    name: str
    version: str
    task: Task
    digest: str = Field(description="SHA-256 of its manifest, which lists those of its files.")
    aliases: list[str]
    shares: dict[str, float] = Field(description="Alias -> its share of the requests, where that is split.")
    shadows: list[str] = Field(description="Aliases whose images it gets copies of.")
    default: bool = Field(description="Whether it answers where the client names no model.")
    ready: bool


class WorkerState(Schema):
    """The versions that one worker serves, and those that it failed to load."""

    process: int
    models: list[LoadedVersion]
    failures: list[ModelFailure]


class WorkerStates(Schema):
    """The states of all workers that take requests."""

    workers: list[WorkerState]


class State(Schema):
    """State of the process."""

    status: Literal["live", "ready"]
