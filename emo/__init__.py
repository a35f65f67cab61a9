"""EMO in PyTorch: architecture, training, export (arXiv 2301.01146). The server never imports it."""

from typing import TYPE_CHECKING

from emo.models.names import MODEL_NAMES, TRAINABLE_NAMES

if TYPE_CHECKING:
    from emo.models.factory import create, load_upstream

__all__ = ["MODEL_NAMES", "TRAINABLE_NAMES", "create", "load_upstream"]


def __getattr__(name: str) -> object:
    """What needs PyTorch, which is loaded when it is asked for: a command that only says how it is used needs none."""
    if name in {"create", "load_upstream"}:
        from emo.models import factory as models  # noqa: PLC0415  not before

        return getattr(models, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
