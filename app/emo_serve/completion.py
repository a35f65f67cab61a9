"""Scripts that complete a command line in a shell, made of its parser."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shtab

_LIST = "emo-serve models 2>/dev/null | grep @ | cut -d@ -f1"
_MODELS: Any = {
    "bash": "_emo_serve_models",
    "zsh": "_emo_serve_models",
    "fish": f"({_LIST})",
    "preamble": {
        "bash": f'_emo_serve_models() {{ compgen -W "$({_LIST})" -- "$1"; }}',
        "zsh": f"_emo_serve_models() {{ compadd -- $({_LIST}) }}",  # shtab.cmd would list them when the shell starts
    },
}
"""Names of models, listed when they are asked for; without versions, as bash ends a word at @."""


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script with which the shell completes commands, options, their choices, files and names of models."""
    for action in _actions(parser):
        if completer := _completer(action):
            action.complete = completer  # type: ignore[attr-defined]  # where shtab looks for it
    return str(shtab.complete(parser, shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001  argparse lists them nowhere else
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  as above
            for command in action.choices.values():
                yield from _actions(command)


def _completer(action: argparse.Action) -> Any:  # noqa: ANN401  shtab's own
    """By metavar or type; None for what only the user knows."""
    if str(action.metavar).startswith("NAME[@VERSION]"):
        return _MODELS
    if action.metavar == "DIR":
        return shtab.DIRECTORY
    return shtab.FILE if action.type is Path or action.metavar == "PATH" else None
