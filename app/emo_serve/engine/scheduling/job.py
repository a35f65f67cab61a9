"""One image as it travels: accepted -> waits for a slot -> runs -> is answered."""

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
    """A request that asks a model for something; all of its images share it."""

    client: str = ""
    request: str = ""
    """What is the same when the request comes back."""
    is_retry: bool = False
    """It was refused before and has come back at its reserved moment."""
    retry_after_seconds: float | None = None
    """Given in its refusal; once for all of its images."""
    leave: Callable[[], None] = field(default=lambda: None, compare=False)
    """To be called when the request asks for nothing more."""


class Priority(NamedTuple):
    """When an image has its turn, in the order of these values."""

    round: int
    own_before: int
    """Images of the same client that were not answered when it came: who waits for nothing else goes first."""
    number: int


FIRST = Priority(0, 0, 0)


@dataclass(slots=True, eq=False)
class Job:
    """One image, what is asked about it, and how far it has come; moments are ``time.perf_counter()``."""

    upload: bytes | NDArray[np.uint8]
    """Encoded, or (H, W, 3) as the model takes it."""
    parameters: Parameters
    deadline: float | None = None
    """loop.time(); None: an answer is of use for ever."""
    ticket: Ticket = field(default_factory=Ticket)
    accepted_at: float = field(default_factory=time.perf_counter)
    priority: Priority = FIRST
    """Given by the queue, with which it waits."""
    has_slot: bool = False
    started_at: float = 0.0
    """When it got its slot."""
    answer: asyncio.Future[Prediction] = field(init=False)
    """Where a thread puts it that takes the image through all steps; the batcher has futures of its own."""
