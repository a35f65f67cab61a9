"""What is served, where, and in which way a server starts, computes and stops: plain settings of ``Settings``."""

from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from emo_serve.setting_types import MetricNames, ProtocolName, ProtocolNames

TuneGoal = Literal["throughput", "latency"]


class ServingSettings(BaseModel):
    """Address, repository, logs, interfaces, connections and tuning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
        description="PEM file of a public key on the curve P-256, P-384 or P-521, or of the certificates up to a root, "
        "whose holder has to have signed every version (`emo-serve sign`) before anything of it is parsed. Unset: "
        "signatures are not looked at.",
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
    playground: bool = Field(
        default=True, description="Whether / is a page to try the models on, or leads to /docs; true or false."
    )
    protocols: ProtocolNames | None = Field(
        default=None,
        description="Protocols of other servers that are spoken beside the own one, separated by commas: "
        f"{', '.join(get_args(ProtocolName))}. Empty: none. Unset: all.",
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
    agent_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="TCP port of HAProxy's agent check, 0 to 65535, on EMO_HOST; 0 lets the system choose. It answers "
        "each connection with a weight in percent: how fast models run now, compared with the measurement at start. "
        "Unset: none.",
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
