"""Fixtures every test may use."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded outputs and real data that lies beside a checkout, not inside it."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there; recorded outputs and real data live beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared: Path) -> Callable[[str], Mapping[str, np.ndarray]]:
    """``golden("clip_small_seed1")`` reads one file of recorded outputs."""

    def read(name: str) -> Mapping[str, np.ndarray]:
        with np.load(shared / "golden" / f"{name}.npz") as archive:
            return {key: archive[key] for key in archive.files}

    return read
