"""Pictures that are made to cost as much as they can: what each costs, and whether that is within its bound."""

import time
from typing import NamedTuple

from tests.attack.attacking import Finding
from tests.vision.expensive import ACCEPTED, REFUSED, SECONDS_A_MEGABYTE, SECONDS_A_MEGAPIXEL, cost, slowness

_MOST_SECONDS = 8.0
_BASE = 0.02  # seconds that every picture may cost, however small
_REFUSAL = 0.1
_MARGIN = 2.0  # what is measured varies as much on a machine that others use as well


class Found(NamedTuple):
    """One file: CPU seconds, also by the million pixels where it was decoded, and its bound in seconds."""

    name: str
    verdict: str
    seconds: float
    seconds_a_megapixel: float
    bound: float
    is_ok: bool


def expensive_pictures() -> list[Found]:
    """Every file in turn, for at most about 10 seconds; what there was no time for is left out."""
    scale, found, until = _MARGIN * slowness(), [], time.monotonic() + _MOST_SECONDS
    for name, make in (*REFUSED.items(), *ACCEPTED.items()):
        if time.monotonic() > until:
            break
        data = make()
        taken = cost(data)
        bound = _BASE + taken.megapixels * SECONDS_A_MEGAPIXEL + taken.megabytes * SECONDS_A_MEGABYTE
        bound = scale * (_REFUSAL if name in REFUSED else bound)
        for _ in range(4):
            if taken.seconds > bound:  # perhaps by chance
                taken = min(taken, cost(data))
        found.append(
            Found(
                name,
                "decoded" if taken.megapixels else "refused",
                taken.seconds,
                taken.seconds / taken.megapixels if taken.megapixels else 0.0,
                bound,
                is_ok=taken.seconds < bound and (name in REFUSED) == (not taken.megapixels),
            )
        )
    return found


def expensive_files() -> list[Finding]:
    """Their largest cost, as a share of its bound, and the wrong outcomes."""
    found = expensive_pictures()
    dearest = max(found, key=lambda entry: entry.seconds / entry.bound)
    share = dearest.seconds / dearest.bound * 100
    return [
        Finding(f"the dearest of {len(found)} expensive pictures, {dearest.name}: of its bound", share, "% CPU", 100),
        Finding("of them, those that are refused or decoded and should not be", sum(not f.is_ok for f in found), "", 0),
    ]
