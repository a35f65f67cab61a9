"""Weights and inputs that are functions of their names, and what the reference implementation answers to them."""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

DATA = Path(__file__).parent.parent / "data"


def expected(name: str, file_name: str = "parity.npz") -> NDArray[Any]:
    with np.load(DATA / file_name) as file:
        array: NDArray[Any] = file[name]
    return array


def upstream_state(model: str) -> dict[str, torch.Tensor]:
    shapes = json.loads((DATA / "upstream_keys.json").read_text())[model]
    return {key: _tensor(key, tuple(shape)) for key, shape in shapes.items()}


def _tensor(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    rs = np.random.RandomState(zlib.crc32(key.encode()))
    last = key.rsplit(".", 1)[1]
    if last == "num_batches_tracked":
        return torch.tensor(0)
    if last in {"running_mean", "bias"}:
        value = 0.1 * rs.standard_normal(shape)
    elif last == "running_var" or len(shape) == 1:
        value = rs.uniform(0.5, 1.5, shape)
    else:
        value = rs.standard_normal(shape) * math.sqrt(1.25 / math.prod(shape[1:]))
    return torch.from_numpy(value.astype(np.float32))


def network_input(name: str, count: int, height: int, width: int) -> torch.Tensor:
    rs = np.random.RandomState(zlib.crc32(name.encode()))
    offset = rs.standard_normal((count, 3, 1, 1))
    coarse = rs.standard_normal((count, 3, -(-height // 32), -(-width // 32)))
    coarse = coarse.repeat(32, 2).repeat(32, 3)[:, :, :height, :width]
    fine = rs.standard_normal((count, 3, height, width))
    return torch.from_numpy((0.5 * offset + coarse + 0.5 * fine).astype(np.float32))
