"""Explanations of other libraries as explainers of this one: Captum, Quantus-style functions and shapiq.

Each bridge gives an explainer for direct use (``from_captum``, ``from_quantus``, ``shapiq_explainer``) and a class to derive
a registered method from (``CaptumExplainer``, ``QuantusExplainer``, ``ShapiqExplainer``). Neither Captum nor Quantus is needed
to import this.
"""

from benchmark.bridges.captum import CaptumExplainer, captum_image, from_captum
from benchmark.bridges.quantus import QuantusExplainer, SimilarityModel, as_quantus, from_quantus
from benchmark.bridges.shapiq import ShapiqExplainer, from_interaction_values, load_interaction_values, shapiq_explainer

__all__ = [
    "CaptumExplainer",
    "QuantusExplainer",
    "ShapiqExplainer",
    "SimilarityModel",
    "as_quantus",
    "captum_image",
    "from_captum",
    "from_interaction_values",
    "from_quantus",
    "load_interaction_values",
    "shapiq_explainer",
]
