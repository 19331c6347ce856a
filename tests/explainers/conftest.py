"""What tests of white-box methods share: recorded outputs with their encoders, and a tower that some cannot read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.encoders import DualEncoder, Pair, wrap_encoder
from benchmark.explaining import explain
from benchmark.explanations import Explanation
from tests.golden_models import golden_inputs, huggingface_clip, open_clip_clip


@dataclass(frozen=True)
class Recorded:
    """One golden model behind one library's adapter, its input, and what the authors' code returned for it."""

    encoder: DualEncoder
    pair: Pair
    outputs: Mapping[str, np.ndarray]

    def explain(self, method: str, **parameters: Any) -> Explanation:
        return explain(self.encoder, self.pair, method, **parameters)

    def agrees(self, key: str, ours: np.ndarray | torch.Tensor | None) -> None:
        """Hold ``ours`` to the tolerance that ``shared/golden/README.md`` states."""
        theirs = self.outputs[key]
        assert ours is not None
        assert tuple(ours.shape) == theirs.shape
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=1e-4 * np.abs(theirs).max() + 1e-6)


LIBRARIES = {"huggingface": huggingface_clip, "open_clip": open_clip_clip}
CASES = {f"{library}-seed{seed}": (make, seed) for library, make in LIBRARIES.items() for seed in (1, 2)}


@pytest.fixture(scope="session", params=CASES)
def recorded(request: pytest.FixtureRequest, golden: Callable[[str], Mapping[str, np.ndarray]]) -> Recorded:
    make, seed = CASES[request.param]
    encoder = wrap_encoder(make(seed))
    return Recorded(encoder, encoder.pair_from_tensors(*golden_inputs(seed)), golden(f"clip_small_seed{seed}"))


@pytest.fixture(scope="session")
def mean_pooled() -> tuple[DualEncoder, Pair]:
    """An open_clip model whose image tower pools by the mean, and a pair for it."""
    from tests.encoders.small_encoders import clip_ids, open_clip_model, pixels

    encoder = wrap_encoder(open_clip_model("mean"))
    return encoder, encoder.pair_from_tensors(pixels(encoder.frame_size, batch=1), clip_ids((6,), end=63))


@pytest.fixture
def two_pairs() -> Callable[[DualEncoder], tuple[Pair, Pair, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Make two pairs on an encoder, and their images, ids and text embeddings as one batch."""
    from tests.small_encoders import picture

    def make(encoder: DualEncoder) -> tuple[Pair, Pair, torch.Tensor, torch.Tensor, torch.Tensor]:
        first, second = encoder.pair(picture(0), "a red star"), encoder.pair(picture(1), "the blue circle on the left")
        pixels, ids = torch.cat([first.pixel_values, second.pixel_values]), torch.cat([first.input_ids, second.input_ids])
        with torch.no_grad():
            return first, second, pixels, ids, encoder.embed_texts(ids)

    return make
