"""Random views of training pictures, as tensors on the device where training happens."""

import torch
from torch import Tensor
from torch.nn import functional

from emo.models.preprocessing import normalise


def jitter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation of float (N, 3, H, W) in 0..255, each scaled by 1 +- ``strength``."""

    def factor() -> Tensor:
        return 1 + strength * (2 * torch.rand((len(images), 1, 1, 1), generator=generator) - 1).to(images.device)

    images = images * factor()
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + (images - mean) * factor()
    grey = images.mean(1, keepdim=True)
    return (grey + (images - grey) * factor()).clamp(0, 255)


def vary_sharpness(images: Tensor, generator: torch.Generator) -> Tensor:
    """Float (N, 3, H, W), each blurred or sharpened at random, from a [1 2 1] blur to twice the detail.

    Pictures of different sources were shrunk by different filters; a network that recognises the source by its
    sharpness would learn that instead of the content.
    """
    line = images.new_tensor([0.25, 0.5, 0.25])
    kernel = (line[:, None] * line).expand(3, 1, 3, 3)
    blurred = functional.conv2d(functional.pad(images, (1, 1, 1, 1), "replicate"), kernel, groups=3)
    amount = 2 * torch.rand((len(images), 1, 1, 1), generator=generator) - 1
    return (images + amount.to(images.device) * (images - blurred)).clamp(0, 255)


def random_boxes(count: int, smallest_area: float, generator: torch.Generator) -> Tensor:
    """Random parts of pictures, (count, 4) as x1, y1, x2, y2 in 0..1 of their sides.

    Each covers between ``smallest_area`` and all of a picture, with an aspect ratio of 3/4 to 4/3.
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    area, ratio = uniform(smallest_area, 1.0), uniform(-0.2877, 0.2877).exp()
    size = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], 1).clamp(max=1)
    corner = torch.stack([uniform(0, 1), uniform(0, 1)], 1) * (1 - size)
    return torch.cat([corner, corner + size], 1)


def random_views(images: Tensor, side: int, smallest_area: float, generator: torch.Generator) -> Tensor:
    """uint8 (N, H, W, 3) -> normalised (N, 3, side, side): random crops, see ``random_boxes`` and ``cropped_views``."""
    return cropped_views(images, random_boxes(len(images), smallest_area, generator), side, generator)


def cropped_views(images: Tensor, boxes: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """uint8 (N, H, W, 3) -> normalised (N, 3, side, side): crops, half of them mirrored, sharpness and colours varied.

    ``boxes`` (N, 4) are x1, y1, x2, y2 in 0..1 of the pictures' sides.
    """
    count = len(images)
    size = boxes[:, 2:] - boxes[:, :2]
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = size[:, 0] * (torch.randint(0, 2, (count,), generator=generator) * 2 - 1)
    theta[:, 1, 1] = size[:, 1]
    theta[:, :, 2] = boxes[:, :2] + boxes[:, 2:] - 1
    pixels = vary_sharpness(images.permute(0, 3, 1, 2).float(), generator)  # (N, H, W, C) -> (N, C, H, W)
    grid = functional.affine_grid(theta.to(images.device), [count, 3, side, side], align_corners=False)
    views = functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return normalise(jitter(views, 0.3, generator).permute(0, 2, 3, 1))
