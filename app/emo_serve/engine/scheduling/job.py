"""A job is one image on its way: accepted -> waits for a slot -> runs -> answered."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emo_serve.vision.results import Parameters, Prediction


@dataclass(slots=True)
class Ticket:
    """A request that was admitted to a model, shared by its images."""

    client: str = ""
    request: str = ""
    """The key by which a retry of the request is recognised."""
    is_retry: bool = False
    """True if it was refused before and has come back at its reserved moment."""
    retry_after_seconds: float | None = None
    """Wait that its refusal names; one for all of its images."""
    leave: Callable[[], None] = field(default=lambda: None, compare=False)
    """To be called when the request needs the model no longer."""
    answered: Callable[["Job", Prediction], None] | None = field(default=None, compare=False)
    """Called with each of its images that was answered; None where nobody wants to know."""


class Priority(NamedTuple):
    """Order in which images get slots and threads; lower values go first."""

    round: int
    own_before: int
    """Unanswered images of the same client at its arrival: a client that waits for nothing else goes first."""
    number: int


FIRST = Priority(0, 0, 0)


@dataclass(slots=True, eq=False)
class Job:
    """One image, its parameters and its progress; moments are ``time.perf_counter()``."""

    upload: bytes | NDArray[np.uint8]
    """Encoded, or (H, W, 3) as the model takes it."""
    parameters: Parameters
    deadline: float | None = None
    """loop.time(); None: an answer is of use for ever."""
    ticket: Ticket = field(default_factory=Ticket)
    accepted_at: float = field(default_factory=time.perf_counter)
    priority: Priority = FIRST
    """Set by the fair queue."""
    has_slot: bool = False
    started_at: float = 0.0
    """When it got its slot."""
    answer: asyncio.Future[Prediction] = field(init=False)
    """Set by the inline executor only; the batcher has futures of its own."""
