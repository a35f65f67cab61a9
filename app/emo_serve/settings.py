"""All settings of the server: ``EMO_*`` environment variables, nested by ``__``, read once and frozen.

``EMO_PORT=9000`` sets ``port``, ``EMO_BATCHING__MAX_BATCH_SIZE=8`` sets ``batching.max_batch_size``. A mistyped name is
an error, because a silently ignored setting is only found in production. Variables that Kubernetes sets in every pod
for a Service called ``emo`` or ``emo-something``, as ``EMO_PORT=tcp://...``, do not count (``service_links``).
"""

import os
from collections.abc import Iterator

from pydantic import Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from emo_serve.access_settings import AccessSettings
from emo_serve.environment import NESTED, PREFIX, given_values, variables_of
from emo_serve.execution_settings import (
    DEFAULT_INTRA_OP_THREADS,
    DEFAULT_MAX_BATCH_SIZE,
    Batching,
    Provider,
    SessionOptions,
)
from emo_serve.limits import MIB, HttpLimits, RequestLimits
from emo_serve.serving_settings import ServingSettings, TuneGoal

__all__ = [
    "DEFAULT_INTRA_OP_THREADS",
    "DEFAULT_MAX_BATCH_SIZE",
    "MIB",
    "PREFIX",
    "Batching",
    "Provider",
    "SessionOptions",
    "Settings",
    "TuneGoal",
    "all_settings",
]


class Settings(AccessSettings, RequestLimits, ServingSettings, BaseSettings):
    """The server's settings; raises pydantic's ValidationError, a ValueError, which names the faults."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=NESTED, frozen=True, extra="forbid", validate_default=True
    )

    http: HttpLimits = Field(default=HttpLimits(), description="What a client may send and hold.")
    batching: Batching = Field(default=Batching(), description="How requests become batches.")
    session: SessionOptions = Field(default=SessionOptions(), description="How ONNX Runtime runs a batch.")

    @model_validator(mode="before")
    @classmethod
    def _of_the_environment(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        return given_values(values, os.environ, PREFIX, [variable for variable, _ in all_settings()])


def all_settings() -> Iterator[tuple[str, FieldInfo]]:
    """The environment variable and the declaration of every setting, each group before its members."""
    return variables_of(Settings, PREFIX)
