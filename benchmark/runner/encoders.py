"""Which encoder to load, as a value that can be sent to a worker process."""

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSource:
    """What a user said about an encoder. ``batch_size`` and ``device`` never change a result's key.

    A ``precision`` other than float32 changes results: it becomes part of the encoder's revision, and so of every key.
    """

    name: str
    device: str = "auto"
    revision: str | None = None
    batch_size: int | None = None
    precision: str = "float32"

    def load(self) -> "DualEncoder":
        """Load the encoder into this process."""
        from benchmark import encoders

        encoder = encoders.load_encoder(self.name, device=self.device, revision=self.revision)
        if self.batch_size is not None:
            encoder.batch_size = self.batch_size
        if self.precision != encoder.precision:
            from benchmark.encoders.precision import checked  # which loads torch

            encoder.precision = checked(self.precision, encoder.device)
            encoder.revision = f"{encoder.revision or ''}+{self.precision}"
        return encoder


def is_on_cpu(encoder: "DualEncoder") -> bool:
    return str(encoder.device).startswith("cpu")


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_one_thread() -> None:
    """Keep torch to one thread, so that a result is the same for any number of workers."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
