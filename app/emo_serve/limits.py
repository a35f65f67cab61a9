"""What a client may send and hold before anything is known of it: a group of the settings."""

from pydantic import BaseModel, ConfigDict, Field


class HttpLimits(BaseModel):
    """Limits of HTTP on the wire; each worker keeps them for itself."""

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
