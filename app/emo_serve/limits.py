"""How much a client may send and hold: on the wire, before a request is parsed, and in a request."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from emo_serve.environment import PREFIX

MIB = 1024 * 1024


class HttpLimits(BaseModel):
    """Limits of HTTP on the wire; each worker enforces them for itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_line_bytes: int = Field(
        default=8192,
        ge=256,
        le=1_048_576,
        description="Most bytes of the line with the request's target, and of one header, 256 to 1048576; more is "
        "answered with 414 and 431.",
    )
    max_head_bytes: int = Field(
        default=65_536,
        ge=1024,
        le=4_194_304,
        description="Most bytes of a request's head, 1024 to 4194304; more is answered with 431.",
    )
    max_headers: int = Field(
        default=100, ge=10, le=10_000, description="Most headers of a request, 10 to 10000; more is answered with 431."
    )
    head_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="Seconds from the first byte of a request's head to its last, above 0, up to 3600; what takes "
        "longer is answered with 408. A new connection on which nothing comes for so long, or for "
        "EMO_KEEP_ALIVE_SECONDS, is closed.",
    )
    max_connections: int = Field(
        default=4096,
        ge=1,
        le=1_000_000,
        description="Most open connections of a worker, 1 to 1000000, and no more than its limit of open files allows; "
        "one more is answered with 503 and closed. The administration's are not counted.",
    )
    max_connections_per_client: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Most open connections of a worker from one address (of IPv6, from one /64), 1 to 1000000; one "
        "more is answered with 503 and closed. EMO_TRUSTED_PROXIES may have any number. Unset: half of "
        "max_connections, or any number where EMO_CLIENT_HEADER is set, because they all come from the proxy then.",
    )


class RequestLimits(BaseModel):
    """Limits of images, bodies and time: plain settings of ``Settings``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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

    @model_validator(mode="after")
    def _any_body_can_fit(self) -> Self:
        if self.max_inflight_bytes < self.max_request_bytes:
            msg = (
                f"{PREFIX}MAX_INFLIGHT_BYTES ({self.max_inflight_bytes}) must be at least "
                f"{PREFIX}MAX_REQUEST_BYTES ({self.max_request_bytes})"
            )
            raise ValueError(msg)
        return self
