"""What an alias does with its requests beside letting its version answer them, as ``serving.json`` says it.

``"splits": {"default": {"shares": {"3": 0.9, "4": 0.1}, "by": "client"}}`` lets several versions answer;
``"shadows": {"default": {"version": "4", "share": 0.5}}`` has another version compute copies, which answer nobody.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from emo_serve.manifest import VERSION_PATTERN

VersionName = Annotated[str, StringConstraints(pattern=VERSION_PATTERN)]
Share = Annotated[float, Field(ge=0, le=1)]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")]

_ROUNDING = 1e-6


class Split(BaseModel):
    """The versions that answer the requests of an alias, and what decides which of them answers one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shares: Mapping[VersionName, Share]
    """Version -> share of the values of what decides; together 1."""
    by: Literal["client", "header", "request"] = "client"
    """``client``: the owner of the API key, else the client as the fair queue knows it; ``request``: the request id."""
    header: HeaderName | None = None
    """With ``header`` only: its name. The alias's own version answers requests without it."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        total = math.fsum(self.shares.values())
        if abs(total - 1) > _ROUNDING:
            msg = f"the shares are {total:g} together, and must be 1"
            raise ValueError(msg)
        if self.by == "header" and self.header is None:
            msg = 'by \'header\' needs the name of one, as in "header": "X-User"'
            raise ValueError(msg)
        if self.by != "header" and self.header is not None:
            msg = f'by {self.by!r} the header {self.header!r} decides nothing; write "by": "header", or leave it out'
            raise ValueError(msg)
        return self


class Shadow(BaseModel):
    """The version that computes copies of an alias's requests, and of what share of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: VersionName
    share: Share
