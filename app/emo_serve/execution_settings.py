"""Groups of settings about running models: batching and ONNX Runtime sessions."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_MAX_BATCH_SIZE = 2
"""Without measurements: cheap per image on every CPU, and it keeps all cores busy."""

DEFAULT_INTRA_OP_THREADS = 1
"""Without measurements: the highest throughput when instances = cores."""

Provider = Literal["cpu", "cuda"]


class Batching(BaseModel):
    """Dynamic batching; the same for every model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Most images in one run of a model, 1 to 256. Unset: measured, up to 32, or 2 without tuning, 16 "
        "on a GPU. A CPU is at its best with 1 to 8, an accelerator wants 8 to 64.",
    )
    max_queue_delay_seconds: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="Most seconds the first image waits for company while an instance is idle, 0 to 10; only while a "
        "fuller batch was measured to pay, another image is likely in time and no deadline breaks. With 0 only what "
        "arrives together, or while all instances are busy, shares a batch.",
    )
    max_queue_size: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="Images one model accepts before it refuses at once with 503, 1 to 100000; counted from acceptance "
        "to answer, so those being decoded or inferred are included. One client gets up to seven times as many as stay "
        "free for others.",
    )
    instances: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Batches of one model that run at the same time, 1 to 256; they share one session. Unset: "
        "measured, or one for each usable core without tuning; on a GPU up to 2.",
    )

    @property
    def largest_batch(self) -> int:
        """``max_batch_size``, or the default if it is neither set nor measured."""
        return self.max_batch_size or DEFAULT_MAX_BATCH_SIZE


class SessionOptions(BaseModel):
    """ONNX Runtime sessions: provider and threads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: Provider = Field(
        default="cpu",
        description="Where models are computed: cpu, or cuda for an NVIDIA GPU, which takes ONNX Runtime's package "
        "onnxruntime-gpu. Where that cannot be had, the server does not start.",
    )
    intra_op_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Threads inside one run, 1 to 256. Unset: measured, or 1 without tuning, which gives the highest "
        "throughput when instances = cores.",
    )

    @property
    def threads(self) -> int:
        """``intra_op_threads``, or the default if it is neither set nor measured."""
        return self.intra_op_threads or DEFAULT_INTRA_OP_THREADS
