"""Default models while the repository changes (``emo_serve.defaults`` has the rule)."""

from collections.abc import Collection, Mapping
from pathlib import Path

from emo_serve.defaults import DEFAULTS_FILE, SHIPPED, Defaults, choose_default, how_to_choose, parse_defaults
from emo_serve.errors import StartupError
from emo_serve.manifest import Task, known_as
from emo_serve.settings import Settings


def configured_defaults(settings: Settings) -> Mapping[Task, str | None]:
    """The default model of each task as the settings say; None where they leave it to the repository."""
    return {
        "classify": settings.default_classify_model,
        "detect": settings.default_detect_model,
        "segment": settings.default_segment_model,
    }


class DefaultModels:
    """Default model of each task; it stays until its successor is known and served; used on one event loop.

    At start a configured model that is missing is not replaced by one that nobody chose.
    """

    def __init__(self, root: Path) -> None:
        self.names: dict[Task, str] = {}
        self.are_unknown = False
        """True if defaults.json could not be read at start."""
        self._root = root
        self._configured = Defaults()
        self._text: bytes | None = None
        self._started = False

    def update(
        self, text: bytes | None, found: Mapping[Task, set[str]], served: Collection[str], failures: dict[Path, str]
    ) -> None:
        """Choose again from ``text`` (of the file), the ``found`` models by task and those that are ``served``.

        Faults are added to ``failures``, which already has an entry for the file if it could not be read.
        """
        path = self._root / DEFAULTS_FILE
        is_changed, self._text = text != self._text, text
        self._read(path, text, failures)
        complaints = []
        broken = {other.relative_to(self._root).parts[:1] for other in failures}
        for task, working_or_not in found.items():
            shipped = SHIPPED.get(task, "")
            # It counts even if it is broken, and even if its task cannot be read.
            is_there = shipped in working_or_not or (
                (shipped,) in broken and not any(shipped in names for names in found.values())
            )
            names = (working_or_not.intersection(served) or working_or_not) | ({shipped} if is_there else set())
            before, chosen = self.names.pop(task, None), choose_default(task, names, self._configured)
            chosen = None if chosen is None else known_as(chosen, names)
            is_set = is_changed or self._configured.named(task) is not None
            if before is not None and before in served and chosen != before and not (is_set and chosen in served):
                wanted = f"{chosen!r} is not served or came later" if chosen else _none_of(task, names)
                complaints.append(f"{wanted}, so {before!r} goes on until a restart; {how_to_choose(task, before)}")
                chosen = before
            elif chosen is None and len(names) > 1:
                complaints.append(f"{_none_of(task, names)}; {how_to_choose(task, min(names))}")
            if chosen is not None:
                self.names[task] = chosen
        if complaints:
            failures.setdefault(path, f"{path}: {'; '.join(complaints)}")
        self._started = True

    def _read(self, path: Path, text: bytes | None, failures: dict[Path, str]) -> None:
        if path not in failures:
            try:
                self._configured = parse_defaults(path, text)
            except StartupError as error:
                failures[path] = str(error)
            else:
                self.are_unknown = False
        if path in failures and not self._started:
            self.are_unknown = True


def _none_of(task: Task, names: Collection[str]) -> str:
    return f"of several models for {task} ({', '.join(sorted(names))}) none is the default"
