"""Explaining one pair by the name of a method."""

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.errors import UnsupportedEncoder
from benchmark.explainers import EXPLAINERS
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair


def explain(encoder: "DualEncoder", pair: "Pair", method: str = "fixlip", seed: int = 0, **parameters: Any) -> Explanation:
    """Explain a pair with a registered method; ``parameters`` are the method's own.

    An unknown method or parameter, and an encoder that the method cannot serve, raise an error that says what to do.
    """
    explainer = EXPLAINERS[method].configure(parameters)
    reason = explainer.unsupported(encoder)
    if reason is not None:
        raise UnsupportedEncoder(reason)
    explanation = explainer.explain(encoder, pair, np.random.default_rng(seed))
    explanation.check(encoder.patch_grid, pair.n_tokens)
    return explanation
