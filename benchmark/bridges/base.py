"""What bridges share: pixels pooled to patches, other libraries' generators seeded, and explainers made on the spot."""

import inspect
import random
import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import make_dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from benchmark.encoders.coarse import CoarseEncoder
from benchmark.errors import InvalidExplanation, InvalidInput
from benchmark.explainers.base import Explainer

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder

type Pool = Literal["sum", "mean"]


def patch_of_pixel(grid: tuple[int, int], size: tuple[int, int]) -> Int[np.ndarray, "height width"]:
    """Return which patch every pixel lies in, row-major; those beyond the last whole patch get the number of patches."""
    (rows, columns), (height, width) = grid, size
    if rows > height or columns > width:
        raise InvalidInput(f"a map of {height} x {width} pixels is too small for {rows} x {columns} patches")
    row, column = np.arange(height) // (height // rows), np.arange(width) // (width // columns)
    whole = (row[:, None] < rows) & (column < columns)
    return np.where(whole, row[:, None] * columns + column, rows * columns)


def pixels_of(encoder: "DualEncoder", size: tuple[int, int]) -> Int[np.ndarray, "height width"]:
    """Return ``patch_of_pixel`` for an encoder; blocks of a coarse one are made of the patches of the fine one."""
    if not isinstance(encoder, CoarseEncoder):
        return patch_of_pixel(encoder.patch_grid, size)
    return np.append(encoder.block_of_patch, encoder.n_patches)[pixels_of(encoder.fine, size)]


def pooled(
    attributions: Any, pixels: Int[np.ndarray, "height width"], n_patches: int, pool: Pool
) -> Float[np.ndarray, " patch"]:
    """Pool scores of one image's pixels, (1, channels, height, width) or less, over the channels and pixels of each patch."""
    if pool not in ("sum", "mean"):
        raise InvalidInput(f"pixels are pooled by sum or mean, not {pool!r}")
    scores = attributions.detach().cpu().numpy() if isinstance(attributions, torch.Tensor) else np.asarray(attributions)
    while scores.ndim > 3 and len(scores) == 1:
        scores = scores[0]
    if scores.ndim not in (2, 3) or scores.shape[-2:] != pixels.shape:
        raise InvalidExplanation(
            f"attributions of one image of {pixels.shape[0]} x {pixels.shape[1]} pixels are (1, channels, height, width), "
            f"(channels, height, width) or (height, width); got {np.shape(attributions)}"
        )
    channels = scores.reshape(-1, *pixels.shape).astype(np.float64)
    sums = np.bincount(pixels.ravel(), channels.sum(axis=0).ravel(), minlength=n_patches + 1)[:n_patches]
    if pool == "sum":
        return sums
    return sums / (len(channels) * np.bincount(pixels.ravel(), minlength=n_patches + 1)[:n_patches])


@contextmanager
def seeded(rng: np.random.Generator, device: torch.device) -> Generator[None]:
    """Seed the global generators that other libraries draw from, and leave them as they were."""
    plain, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seed = int(rng.integers(2**32))
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(legacy)  # noqa: NPY002


def made[E: Explainer](
    base: type[E], name: str, make: Callable[..., E], what: Any, options: Mapping[str, Any], **attributes: Any
) -> E:
    """Return an explainer of a class made for it, which no registry knows; its options are its parameters.

    ``make(what, name=name, **options)`` makes it again where it is unpickled: in a worker process, if ``what`` can go there.
    """
    own = [(option, Any) for option in options if option not in base.__dataclass_fields__]
    namespace = {"name": name, "version": 1, "__doc__": base.__doc__, "__module__": base.__module__, **attributes}
    namespace["__reduce__"] = lambda self: (_again, (make, what, name, dict(options)))  # pyright: ignore[reportUnknownLambdaType]
    kind: type[E] = make_dataclass(base.__name__, own, bases=(base,), namespace=namespace, frozen=True, kw_only=True)
    return kind(**options)


def _again(make: Callable[..., Explainer], what: Any, name: str, options: dict[str, Any]) -> Explainer:
    return make(what, name=name, **options)


def kind_of(what: Any) -> type:
    """Return a class as it is, and the class of anything else."""
    return what if inspect.isclass(what) else type(what)


def name_of(what: Any, library: str) -> str:
    """Return a name for what was handed over; a lambda has none of its own."""
    name = what if isinstance(what, str) else getattr(what, "__name__", type(what).__name__)
    if not name.isidentifier():
        raise InvalidInput(f"{name} has no name of its own; pass name='{library}_...'")
    return f"{library}_{re.sub('(?<=[a-z0-9])(?=[A-Z])', '_', name).lower()}"
