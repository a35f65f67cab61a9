"""`make attack`: every hostile scenario against a real server on loopback, each with its figures and their bounds.

Ends with status 1 where a bound is broken. A new scenario is a function that gives its findings; it is listed here.
Those that need nothing of this version take the checkout whose server is attacked: another one's can be compared.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.attack import answers, crowds, dialects, images, pictures, supervision, wire
from tests.attack.attacking import Finding, allow_many_files

SCENARIOS: tuple[Callable[[Path], list[Finding]], ...] = (
    wire.headers_times_chunks,
    wire.endless_heads,
    wire.endless_chunks,
    wire.pipelined_requests,
    crowds.silent_connections,
    crowds.slow_clients,
    answers.offered_upgrades,
    answers.odd_requests,
    crowds.two_servers_at_once,
    crowds.bursts_of_connections,
    images.wide_bitmaps,
    dialects.growing_bodies,
)
OF_THIS_VERSION: tuple[Callable[[], list[Finding]], ...] = (
    pictures.expensive_files,
    supervision.hung_worker,
    supervision.replaced_worker,
    supervision.endless_self_test,
)
CHECKOUT = Path(__file__).parents[2]


def main() -> int:
    """Run them; the exit status."""
    parser = argparse.ArgumentParser(prog="make attack", description="Hostile clients, tried for real.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these scenarios")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="attack the server of another checkout")
    parser.add_argument("--table", action="store_true", help="print the rows of a table in Markdown")
    options = parser.parse_args()
    allow_many_files()
    scenarios = {scenario.__name__: partial(scenario, options.checkout) for scenario in SCENARIOS}
    if options.checkout == CHECKOUT:
        scenarios |= {scenario.__name__: partial(scenario) for scenario in OF_THIS_VERSION}
    broken = 0
    for name, scenario in scenarios.items():
        if options.names and name not in options.names:
            continue
        began = time.monotonic()
        findings = scenario()
        say(f"{name} ({time.monotonic() - began:.0f} s)")
        for finding in findings:
            broken += not finding.holds
            say(row(finding) if options.table else line(finding))
    say(f"{broken} bounds are broken" if broken else "every bound holds")
    return 1 if broken else 0


def line(finding: Finding) -> str:
    mark = " " if finding.holds else "!"
    return f"{mark} {finding.value:10.2f} {finding.unit:6} (at most {finding.bound:g})  {finding.what}"


def row(finding: Finding) -> str:
    return f"| {finding.what} | {finding.value:.2f} {finding.unit} | {finding.bound:g} |"


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
