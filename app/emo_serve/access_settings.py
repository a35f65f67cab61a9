"""Who may ask, from where, and as whom: plain settings of ``Settings``."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from emo_serve.environment import PREFIX
from emo_serve.setting_types import HeaderName, Networks, Origins, PublicPath


class AccessSettings(BaseModel):
    """Clients and their keys, browsers, proxies, and the administration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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

    @model_validator(mode="after")
    def _shares_are_those_of_keys(self) -> Self:
        if self.api_keys_file is None and (self.api_key_requests_per_second or self.api_key_concurrency):
            msg = f"{PREFIX}API_KEY_REQUESTS_PER_SECOND and {PREFIX}API_KEY_CONCURRENCY need {PREFIX}API_KEYS_FILE"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _nobody_administers_without_a_token(self) -> Self:
        given = (self.admin_token is not None) + (self.admin_token_file is not None)
        if given > 1 or (self.admin_port is not None and not given):
            msg = f"{PREFIX}ADMIN_PORT needs one of {PREFIX}ADMIN_TOKEN_FILE and {PREFIX}ADMIN_TOKEN"
            raise ValueError(msg)
        return self
