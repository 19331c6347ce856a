"""Submissions written on the spot, and an encoder and a pair for them to explain."""

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import numpy as np
import pytest
from PIL import Image

import benchmark as xb
from benchmark.sandbox import Limits, Sandboxed, close_children, sandboxed
from benchmark.sandbox.confinement import works

QUICK = Limits(seconds_per_unit=60, start_seconds=120)
HEAD = """
import os, signal, socket, sys, time
import numpy as np
from benchmark.explainers import Explainer
from benchmark.explanations import Explanation

class Mine(Explainer, name="mine"):
    yields = ("image",)

    def explain(self, encoder, pair, rng):
        if "honest" in pair.text:
            return Explanation(image=rng.standard_normal(encoder.patch_grid))
"""

Write = Callable[..., Sandboxed]


@pytest.fixture(params=["bubblewrap", "unshare"])
def confinement(request: pytest.FixtureRequest) -> str:
    reason = works(request.param)
    if reason is not None:
        pytest.skip(f"{request.param} cannot be used here: {reason}")
    return request.param


@pytest.fixture(scope="session")
def confined() -> str:
    """The first means of confinement that works here."""
    for name in ("bubblewrap", "unshare"):
        if works(name) is None:
            return name
    pytest.skip("neither bubblewrap nor unshare can be used here")


@pytest.fixture(scope="session")
def encoder() -> xb.DualEncoder:
    return xb.load_encoder("embedded", device="cpu")


@pytest.fixture(scope="session")
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def hostile_pair(encoder: xb.DualEncoder, image: Image.Image) -> xb.Pair:
    return encoder.pair(image, "a red star")


@pytest.fixture(scope="session")
def honest_pair(encoder: xb.DualEncoder, image: Image.Image) -> xb.Pair:
    """The submissions of these tests behave before this text."""
    return encoder.pair(image, "an honest circle")


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """``write(body)`` makes a submission whose ``explain`` runs ``body``, unless the text says "honest"."""

    def make(body: str, *, name: str = "mine", head: str = HEAD, **fields: Any) -> Sandboxed:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "explainer.py").write_text(head + indent(dedent(body), " " * 8))
        return sandboxed(folder, **{"entry": "explainer.py:Mine", "name": name, "limits": QUICK, **fields})

    yield make
    close_children()
