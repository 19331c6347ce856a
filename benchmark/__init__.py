"""XLIP-Bench measures how far explanations of image-text dual encoders can be trusted.

>>> import benchmark as xb
>>> encoder = xb.load_encoder("embedded")  # doctest: +SKIP
>>> xb.explain(encoder, encoder.pair("photo.jpg", "a red star"), method="fixlip")  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.encoders import DualEncoder, Pair, load_encoder, wrap_encoder
    from benchmark.explaining import explain
    from benchmark.explanations import Explanation, Players
    from benchmark.games.similarity import SimilarityGame
    from benchmark.runner.evaluate import evaluate

__version__ = "0.1.0"
__all__ = [
    "DualEncoder",
    "Explanation",
    "Pair",
    "Players",
    "SimilarityGame",
    "evaluate",
    "explain",
    "load_encoder",
    "wrap_encoder",
]

_HOMES = {
    "DualEncoder": "benchmark.encoders",
    "Pair": "benchmark.encoders",
    "load_encoder": "benchmark.encoders",
    "wrap_encoder": "benchmark.encoders",
    "explain": "benchmark.explaining",
    "Explanation": "benchmark.explanations",
    "Players": "benchmark.explanations",
    "SimilarityGame": "benchmark.games.similarity",
    "evaluate": "benchmark.runner.evaluate",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that reading a store does not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
