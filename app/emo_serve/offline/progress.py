"""Progress of a batch job on standard error: one line, overwritten on a terminal, else one every ten seconds."""

import sys
import time

_ON_TERMINAL, _ELSEWHERE = 0.5, 10.0  # seconds between lines


class Progress:
    """Counts pictures and shows their number, rate, failures and the time left."""

    def __init__(self, total: int, before: int) -> None:
        """``total`` pictures are to be computed, ``before`` were there already."""
        self.total = total
        self.done = self.failed = 0
        self._before = before
        self._began = self._shown = time.monotonic()
        self._watched = sys.stderr.isatty()

    def add(self, pictures: int, failed: int) -> None:
        """Count so many pictures more."""
        self.done += pictures
        self.failed += failed
        now = time.monotonic()
        if now - self._shown >= (_ON_TERMINAL if self._watched else _ELSEWHERE):
            self._shown = now
            self._write("\r" if self._watched else "", "" if self._watched else "\n")

    def close(self) -> None:
        """Show the end."""
        self._write("\r" if self._watched else "", "\n")

    def _write(self, before: str, after: str) -> None:
        seconds = max(time.monotonic() - self._began, 1e-9)
        rate = self.done / seconds
        left = (self.total - self.done) / rate if rate else 0.0
        there = f", {self._before:,} were there before" if self._before else ""
        counts = f"{self.done:,} of {self.total:,} pictures, {rate:.0f}/s, {self.failed:,} failed"
        text = f"{counts}, {_words(left)} left{there}"
        sys.stderr.write(f"{before}{text:<78}{after}")
        sys.stderr.flush()


def _words(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
