"""EMO in PyTorch: architecture, training, export (arXiv 2301.01146). The server never imports it."""

from typing import TYPE_CHECKING

from emo.models.names import MODEL_NAMES, TRAINABLE_NAMES

if TYPE_CHECKING:
    from emo.checkpoints.upstream import load_upstream
    from emo.models.factory import create

__all__ = ["MODEL_NAMES", "TRAINABLE_NAMES", "create", "load_upstream"]


def __getattr__(name: str) -> object:
    """Import names that need PyTorch on first use, so that commands that need no PyTorch start without it."""
    match name:
        case "create":
            from emo.models.factory import create as wanted  # noqa: PLC0415  on first use
        case "load_upstream":
            from emo.checkpoints.upstream import load_upstream as wanted  # type: ignore[assignment]  # noqa: PLC0415
        case _:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
    return wanted
