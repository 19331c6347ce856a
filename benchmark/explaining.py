"""Explaining pairs by the name of a method."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from benchmark.encoders.base import Pair
from benchmark.errors import UnsupportedEncoder
from benchmark.explainers import EXPLAINERS
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder


@overload
def explain(encoder: "DualEncoder", pair: Pair, method: str = "fixlip", seed: int = 0, **parameters: Any) -> Explanation: ...
@overload
def explain(
    encoder: "DualEncoder", pair: Sequence[Pair], method: str = "fixlip", seed: int = 0, **parameters: Any
) -> list[Explanation]: ...
def explain(
    encoder: "DualEncoder", pair: Pair | Sequence[Pair], method: str = "fixlip", seed: int = 0, **parameters: Any
) -> Explanation | list[Explanation]:
    """Explain a pair, or several, with a registered method; ``parameters`` are the method's own.

    Several pairs share passes where the method can. Each has a generator seeded by ``seed``, so its explanation is the one
    that it would have alone, up to rounding. An unknown method or parameter, and an encoder that the method cannot serve,
    raise an error that says what to do.
    """
    explainer = EXPLAINERS[method].configure(parameters)
    reason = explainer.unsupported(encoder)
    if reason is not None:
        raise UnsupportedEncoder(reason)
    pairs = [pair] if isinstance(pair, Pair) else list(pair)
    explanations = explainer.explain_pairs(encoder, pairs, [np.random.default_rng(seed) for _ in pairs])
    for one, explanation in zip(pairs, explanations, strict=True):
        explanation.check(encoder.patch_grid, one.n_tokens)
    return explanations[0] if isinstance(pair, Pair) else explanations
