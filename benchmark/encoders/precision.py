"""Number formats in which forward passes can be computed; float32 unless somebody asks for another."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal, get_args

import torch

from benchmark.errors import InvalidInput

Precision = Literal["float32", "tf32", "bfloat16", "float16"]
HALF: dict[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def checked(precision: str, device: torch.device) -> Precision:
    """Return the precision if ``device`` computes in it; TF32 is a format of CUDA's matrix units alone."""
    known = {name: name for name in get_args(Precision)}
    if precision not in known:
        raise InvalidInput(f"{precision!r} is no precision; known: {', '.join(known)}")
    if precision == "tf32" and device.type != "cuda":
        raise InvalidInput(f"tf32 needs a CUDA device; this encoder is on {device}. Use float32 or bfloat16")
    return known[precision]


@contextmanager
def computing(precision: Precision, device: torch.device) -> Generator[None]:
    """Compute matrix products in ``precision`` during a ``with`` block.

    Half precisions are torch's autocast: weights stay as they are loaded, norms, softmax and the residual stream stay in
    float32. In ``float32`` a CUDA device rounds neither products nor convolutions to TF32, whatever the process has set.
    """
    if precision in HALF:
        with torch.autocast(device.type, dtype=HALF[precision]):
            yield
    elif device.type == "cuda":
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        try:
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=precision == "tf32"):
                yield
        finally:
            torch.set_float32_matmul_precision(before)
    else:
        yield
