"""What is shown in place of a removed patch: images painted in normalised pixels, for ``removal`` to take patches from."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

CELLS = 4  # an imputed patch has up to CELLS x CELLS colours before these are interpolated
NOISE = 0.01
TOLERANCE = 1e-6  # root mean square of what an imputed cell lacks to its neighbours' mean, in normalised pixels
LONGEST = 2000  # steps of the solver; a grid of 64 x 64 cells with one of its patches kept takes about 300


def blurred(pixel_values: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image 3 height width"]:
    """Return Gaussian blurs: standard deviation 5, cut off at 5 pixels from the centre, in a frame 224 high; scaled to others.

    The edge is continued. RISE (1806.07421) starts its insertion curves from this image: large shapes stay recognisable.
    """
    sigma = 5 * pixel_values.shape[-2] / 224
    radius = max(1, round(sigma))
    steps = torch.arange(-radius, radius + 1, device=pixel_values.device, dtype=pixel_values.dtype)
    weights = torch.exp(-0.5 * (steps / sigma) ** 2)
    line = (weights / weights.sum()).expand(3, 1, 1, -1)
    padded = F.pad(pixel_values, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, line, groups=3), line.mT, groups=3)


def black(encoder: "DualEncoder", pair: "Pair") -> Float[Tensor, "1 3 height width"]:
    """Return a black image as the encoder's own processor normalises it: 0 before normalisation."""
    height, width = encoder.frame_size
    size = (width, height) if pair.geometry is None else pair.geometry.original_size
    return encoder.preprocess(Image.new("RGB", size))[0].to(pair.pixel_values)


def imputed(
    pixel_values: Float[Tensor, "1 3 height width"], kept: Bool[Tensor, "coalition row column"]
) -> Float[Tensor, "coalition 3 height width"]:
    """Return one image per coalition in which removed patches continue the kept ones.

    After ROAD (2202.00449), noisy linear imputation: every removed cell is the weighted mean of its eight neighbours, 1/6
    straight and 1/12 diagonal, those beyond the frame left out; kept cells have their mean colour. A patch has 4 x 4 cells,
    or the most below that divide its side (2 x 2 of 14 pixels); ROAD itself solves for single pixels. The cells are
    interpolated bilinearly, and normal noise of standard deviation 0.01, the same for every coalition and image of one size,
    is added: all in normalised pixels. With nothing kept there is nothing to continue, and cells are 0, the mean colour.
    Pixels beyond the last whole patch are 0.
    """
    rows, columns = kept.shape[1:]
    side = (pixel_values.shape[-2] // rows, pixel_values.shape[-1] // columns)
    per_patch = max(n for n in range(1, CELLS + 1) if side[0] % n == 0 and side[1] % n == 0)
    seen = pixel_values[..., : rows * side[0], : columns * side[1]].float()
    cells = F.avg_pool2d(seen, (side[0] // per_patch, side[1] // per_patch))
    known = kept[:, None].repeat_interleave(per_patch, 2).repeat_interleave(per_patch, 3).float()
    smooth = F.interpolate(harmonic(cells, known), size=seen.shape[-2:], mode="bilinear", align_corners=False)
    noise = torch.randn(seen.shape[1:], generator=torch.Generator().manual_seed(0))
    images = pixel_values.new_zeros(len(kept), *pixel_values.shape[1:])
    images[..., : seen.shape[-2], : seen.shape[-1]] = smooth + NOISE * noise.to(smooth)
    return images


def harmonic(
    cells: Float[Tensor, "1 channel row column"], known: Float[Tensor, "coalition 1 row column"]
) -> Float[Tensor, "coalition channel row column"]:
    """Return cells where they are ``known`` (1), and elsewhere (0) the weighted mean of their neighbours; 0 if none is known.

    Conjugate gradients, one system per coalition and channel. A system that has met the tolerance stands still, so that a
    result does not depend on the rest of the batch.
    """
    down, across = (_one_two_one(n).to(cells) for n in cells.shape[2:])

    def neighbours(x: Tensor) -> Tensor:  # 1/6 straight, 1/12 diagonal: a product of two lines, less its centre
        return (down @ x @ across - 4 * x) / 12

    def total(x: Tensor) -> Tensor:
        return x.sum(dim=(2, 3), keepdim=True)

    unknown = 1 - known
    degree = neighbours(torch.ones_like(cells))
    fixed = known * cells
    guess = unknown * total(fixed) / total(known).clamp(min=1)
    residual = unknown * (neighbours(fixed + guess) - degree * guess)
    direction, size = residual, total(residual**2)
    enough = TOLERANCE**2 * cells.shape[2] * cells.shape[3]
    for _ in range(LONGEST):
        active = size > enough
        if not active.any():
            break
        image = unknown * (degree * direction - neighbours(direction))
        step = torch.where(active, size / total(direction * image).clamp(min=1e-30), 0.0)
        guess = guess + step * direction
        residual = residual - step * image
        grown = total(residual**2)
        direction = residual + torch.where(active, grown / size.clamp(min=1e-30), 0.0) * direction
        size = grown
    return fixed + guess


def _one_two_one(n: int) -> Float[Tensor, "row row"]:
    """Return the matrix that adds both neighbours of every item of a line to twice the item."""
    beside = torch.ones(n - 1).diag(1)
    return beside + beside.T + 2 * torch.eye(n)
