"""Random numbers addressed by sample index, so that sample 17 is the same whatever batch it is drawn in."""

from zlib import crc32

import numpy as np
from jaxtyping import Float, Int


def _mix(state: np.ndarray) -> np.ndarray:
    """The splitmix64 finaliser (Steele, Lea and Flood, 2014), element by element."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def uniforms(stream: str, indices: Int[np.ndarray, " sample"], count: int) -> Float[np.ndarray, "sample count"]:
    """Return ``count`` numbers in [0, 1) per sample; row ``i`` depends on ``stream`` and ``indices[i]`` alone.

    Asking for a larger ``count`` keeps the first ones.
    """
    with np.errstate(over="ignore"):
        key = np.uint64(crc32(stream.encode())) << np.uint64(32)
        sample = _mix(np.asarray(indices).astype(np.uint64) + key)[:, None]
        slot = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        bits = _mix(_mix(sample + slot) + slot)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def choose(draw: Float[np.ndarray, "..."], count: int | Int[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    """Turn uniform numbers into integers 0 to ``count - 1``."""
    return np.minimum((draw * count).astype(np.int64), np.asarray(count) - 1)
