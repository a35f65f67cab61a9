"""All settings of the server: ``EMO_*`` environment variables, nested by ``__``, read once and frozen.

``EMO_PORT=9000`` sets ``port``, ``EMO_BATCHING__MAX_BATCH_SIZE=8`` sets ``batching.max_batch_size``. A mistyped name is
an error, because a silently ignored setting is only found in production. Variables that Kubernetes sets in every pod
for a Service called ``emo`` or ``emo-something``, as ``EMO_PORT=tcp://...``, do not count (``service_links``).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from emo_serve.environment import NESTED, given_values, variables_of
from emo_serve.execution_settings import (
    DEFAULT_INTRA_OP_THREADS,
    DEFAULT_MAX_BATCH_SIZE,
    Batching,
    Provider,
    SessionOptions,
)
from emo_serve.limits import HttpLimits
from emo_serve.setting_types import HeaderName, MetricNames, Networks, Origins, ProtocolNames, PublicPath

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

PREFIX = "EMO_"
MIB = 1024 * 1024

TuneGoal = Literal["throughput", "latency"]


class Settings(BaseSettings):
    """The server's settings; raises pydantic's ValidationError, a ValueError, which names the faults."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=NESTED, frozen=True, extra="forbid", validate_default=True
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 for all.")
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        description="TCP port, 0 to 65535; 0 lets the system choose. "
        "Unset: what the variable PORT says, as platforms set it (Cloud Run), else 8000.",
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Processes that answer, 1 to 256. Each loads every model, plans threads for its share of the cores "
        "and keeps the limits below for itself. Unset: one for each usable core, at most 8; on a GPU one, because each "
        "would hold the models in its memory once more.",
    )
    hang_seconds: float = Field(
        default=10.0,
        ge=2,
        le=3600,
        description="Seconds that the event loop of a process which answers may stand still, 2 to 3600; then it is "
        "killed, its connections with it, and replaced by another. With one worker the process ends with status 1.",
    )
    models: Path = Field(
        default=Path("models"),
        description="Folder of the model repository. Where it is unset "
        "and there is no such folder, the models that come with the package are served.",
    )
    watch_seconds: float | None = Field(
        default=None,
        ge=0.1,
        le=3600,
        description="Seconds from one look at the repository to the next, 0.1 to 3600; a change that two looks in a "
        "row have seen is followed. Unset: it is read at start, and when the administration says so.",
    )
    load_seconds: float = Field(
        default=30.0,
        ge=1,
        le=3600,
        description="Seconds that reading, loading and testing one version may take in the process in which it is "
        "tried before it is served, 1 to 3600; what takes longer is given up and stands under failures.",
    )
    require_signature: Path | None = Field(
        default=None,
        description="PEM file of a public key, or of the certificates up to a root, whose holder has to have signed "
        "every version (`emo-serve sign`) before anything of it is parsed. Unset: signatures are not looked at.",
    )
    default_classify_model: str | None = Field(
        default=None,
        description="Model that answers /classify when none is named. Unset: what defaults.json of the repository "
        "says, else emo-1m, else the only one.",
    )
    default_detect_model: str | None = Field(
        default=None,
        description="Model that answers /detect when none is named. Unset: what defaults.json of the repository says, "
        "else ssdlite-emo-1m, else the only one.",
    )
    default_segment_model: str | None = Field(
        default=None,
        description="Model that answers /segment when none is named. Unset: what defaults.json of the repository says, "
        "else the only one.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged: debug, info, warning or error."
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto",
        description="What log lines look like: text for people, json for machines, auto for text where standard error "
        "is a terminal and json elsewhere.",
    )
    decode_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Threads that decode and preprocess, 1 to 256, for all models together. Unset: the usable cores.",
    )
    max_image_bytes: int = Field(
        default=20 * MIB, ge=1, description="Most bytes of one encoded image, at least 1; more is answered with 413."
    )
    max_image_pixels: int = Field(
        default=50_000_000,
        ge=1,
        description="Most pixels (width x height) of one image, at least 1; more is answered with 413, judged by the "
        "header, before decoding. While it is decoded, a JPEG takes about 4 to 10 bytes of memory a pixel in a decode "
        "thread, less at a fraction of its size; other formats up to 16.",
    )
    max_image_scans: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="Most decoding work of one image, 1 to 1000: passes over max_image_pixels pixels; a smaller "
        "progressive JPEG may make more. More is answered with 413.",
    )
    max_images_per_request: int = Field(
        default=32, ge=1, le=1000, description="Most images in one multipart or JSON request, 1 to 1000."
    )
    max_request_bytes: int = Field(
        default=64 * MIB, ge=1, description="Most bytes of a whole request body, at least 1; more is answered with 413."
    )
    max_inflight_bytes: int = Field(
        default=512 * MIB,
        ge=1,
        description="Most bytes of all request bodies that are being read or answered, at least max_request_bytes; a "
        "body that does not fit any more is refused at once with 503. Base64 and multipart take up to three times "
        "their bytes of memory for a moment.",
    )
    request_timeout_seconds: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Seconds until an unanswered request gets 504, above 0, up to 3600; the most that a client's "
        "X-Request-Timeout-Ms can ask for.",
    )
    client_header: HeaderName | None = Field(
        default=None,
        description="Header that names the client, for taking turns: X-Forwarded-For behind a proxy that sets it, or "
        "that of an API key; of several values the last counts. Only where no client can reach the server past the "
        "proxy that checks it. Unset: the address that the connection comes from.",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="File of API keys, a line NAME:DIGEST for each, with the key's SHA-256; read again when it "
        "changes. Every request but those for /livez, /readyz, the page at / and the description then needs a key, "
        "whose name is the client. Unset: nobody needs one.",
    )
    api_key_requests_per_second: float | None = Field(
        default=None,
        gt=0,
        le=100_000,
        description="Most requests of one API key in a second, above 0, up to 100000; more are answered with 429. "
        "Unset: any number.",
    )
    api_key_concurrency: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Most requests of one API key at a time, 1 to 100000; more are answered with 429. Unset: any "
        "number.",
    )
    cors_origins: Origins | None = Field(
        default=None,
        description="Origins whose pages may ask from a browser, separated by commas (https://photos.example), or * "
        "for all; never with cookies. Unset: none.",
    )
    root_path: PublicPath | None = Field(
        default=None,
        description="Path below which a proxy publishes the server, as /vision; whether the proxy takes it away or "
        "leaves it. Redirects and the description then have it. Unset: none.",
    )
    trusted_proxies: Networks | None = Field(
        default=None,
        description="Addresses or networks of proxies, separated by commas, or * for all, whose X-Forwarded-Prefix is "
        "believed: it goes before EMO_ROOT_PATH. Unset: none.",
    )
    playground: bool = Field(
        default=True, description="Whether / is a page to try the models on, or leads to /docs; true or false."
    )
    protocols: ProtocolNames | None = Field(
        default=None,
        description="Protocols of other servers that are spoken beside the own one, separated by commas: v2, "
        "huggingface, deepstack, torchserve, roboflow, sagemaker, vertex, tfserving. Empty: none. Unset: all.",
    )
    metric_names: MetricNames | None = Field(
        default=None,
        description="Servers whose names of metrics /metrics has beside the own ones, separated by commas: triton, "
        "kserve. Unset: none.",
    )
    grpc_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="TCP port of the Open Inference Protocol over gRPC, 0 to 65535, on EMO_HOST; 0 lets the system "
        "choose. Needs the extra grpc. Unset: none.",
    )
    tracing: bool = Field(
        default=False,
        description="Whether requests are traced with OpenTelemetry, true or false; needs the extra otel. Where the "
        "traces go, and which, say its own variables, OTEL_*.",
    )
    keep_alive_seconds: int = Field(
        default=75,
        ge=0,
        le=3600,
        description="Seconds an idle connection stays open, 0 to 3600; longer than the load balancer's own, or the "
        "balancer meets closed connections.",
    )
    drain_delay_seconds: float = Field(
        default=0.0,
        ge=0,
        le=3600,
        description="Seconds from SIGTERM until no more connections are accepted, 0 to 3600, while /readyz says 503; "
        "longer than the load balancer needs to notice. Ctrl-C does not wait.",
    )
    drain_seconds: float = Field(
        default=20.0,
        ge=0,
        le=3600,
        description="Seconds that accepted work may take once no more connections are accepted, 0 to 3600.",
    )
    tune: bool = Field(
        default=True,
        description="Whether instances, batch size and threads that are unset are measured at start, for at most 5 "
        "seconds, and remembered for the next one; true or false.",
    )
    tune_goal: TuneGoal = Field(
        default="throughput",
        description="What the measured settings are the best for: throughput (images a second when all instances are "
        "busy) or latency (one image alone).",
    )
    cache_dir: Path | None = Field(
        default=None,
        description="Folder that remembers measurements. Unset: emo-serve in $XDG_CACHE_HOME, or in ~/.cache. Where it "
        "cannot be written every start measures anew.",
    )
    admin_host: str = Field(
        default="127.0.0.1", min_length=1, description="Address on which the administration listens."
    )
    admin_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="TCP port of the administration, 0 to 65535; 0 lets the system choose. Unset: there is none. It "
        "needs a token.",
    )
    admin_token: str | None = Field(
        default=None,
        min_length=16,
        repr=False,
        description="Token of the administration (Authorization: Bearer), at least 16 characters; a file is safer.",
    )
    admin_token_file: Path | None = Field(
        default=None, description="File that holds the token of the administration, read at start."
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

    @model_validator(mode="after")
    def _nobody_administers_without_a_token(self) -> Self:
        given = (self.admin_token is not None) + (self.admin_token_file is not None)
        if given > 1 or (self.admin_port is not None and not given):
            msg = f"{PREFIX}ADMIN_PORT needs one of {PREFIX}ADMIN_TOKEN_FILE and {PREFIX}ADMIN_TOKEN"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _any_body_can_fit(self) -> Self:
        if self.max_inflight_bytes < self.max_request_bytes:
            msg = (
                f"{PREFIX}MAX_INFLIGHT_BYTES ({self.max_inflight_bytes}) must be at least "
                f"{PREFIX}MAX_REQUEST_BYTES ({self.max_request_bytes})"
            )
            raise ValueError(msg)
        return self


def all_settings() -> Iterator[tuple[str, FieldInfo]]:
    """The environment variable and the declaration of every setting, each group before its members."""
    return variables_of(Settings, PREFIX)
