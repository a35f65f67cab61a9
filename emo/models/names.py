"""Names of the models, available without loading PyTorch."""

SIZE_NAMES = ("emo_1m", "emo_2m", "emo_5m", "emo_6m")
_DENSE_SIZES = ("emo_1m", "emo_2m", "emo_5m")
_SSDLITE = tuple(f"ssdlite_{size}" for size in _DENSE_SIZES)
_OTHERS = tuple(f"{head}_{size}" for head in ("retinanet", "deeplabv3", "pspnet") for size in _DENSE_SIZES)
TRAINABLE_NAMES = (*SIZE_NAMES, *_SSDLITE)
"""Models for which ``emo train`` has a recipe."""
MODEL_NAMES = (*TRAINABLE_NAMES, *_OTHERS)


def model_name(text: str) -> str:
    """The name as spelled in the code: ``emo-1m`` is ``emo_1m``."""
    return text.lower().replace("-", "_")
