"""Maps of labels, alone and among others, on planted explanations."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmark.explanations import Explanation
from benchmark.tasks.base import Explained
from benchmark.tasks.label_sets import LabelSets, OneLabel

PROTOCOL = LabelSets()
PHRASES = tuple(SimpleNamespace(span=(i, i + 1)) for i in range(2))
EVALUATION = SimpleNamespace(
    pair=SimpleNamespace(tokens_of=lambda span: [span[0]]), sample=SimpleNamespace(phrases=PHRASES, text="a b")
)


def noise(seed):
    return np.random.default_rng(seed).standard_normal((7, 7))


def compare(whole, first, second, seed=None):
    probes = {"label-0": first, "label-1": second, "seed": seed or whole}
    return PROTOCOL.compare(
        Explained(explanation=whole), {name: Explained(explanation=other) for name, other in probes.items()}, EVALUATION
    )


def test_a_label_is_explained_alone_and_a_text_of_one_label_is_no_set():
    assert [OneLabel(i).text("star moon heart") for i in (0, 1)] == ["star", "moon"]
    assert OneLabel(1).text("star") == "star"
    alone = SimpleNamespace(sample=SimpleNamespace(phrases=PHRASES[:1]))
    assert PROTOCOL.excluded(alone) == "one label is no set"
    assert PROTOCOL.excluded(EVALUATION) is None


def test_a_method_that_reads_the_labels_passes():
    star, moon = noise(0), noise(1)
    whole = Explanation(cross=np.stack([star, moon], axis=2))
    scores = compare(whole, Explanation(image=star), Explanation(image=moon))
    assert scores["label_set_spearman"].value == pytest.approx(1.0)
    assert scores["label_set_spearman"].flags["token_blind"] == 0.0
    assert abs(scores["label_spearman"].value) < 0.4
    assert scores["label_contrast"].value == pytest.approx(1 - abs(scores["label_spearman"].value))


def test_a_map_that_ignores_the_text_has_no_contrast():
    fixed = Explanation(image=noise(0))
    scores = compare(fixed, fixed, fixed)
    assert scores["label_contrast"].value == pytest.approx(0.0)
    assert scores["label_spearman"].value == pytest.approx(1.0)
    assert scores["label_set_spearman"].flags["token_blind"] == 1.0


def test_noise_is_at_chance_and_a_constant_map_degenerate():
    found = [compare(*(Explanation(image=noise(4 * i + j)) for j in range(4))) for i in range(100)]
    for name in PROTOCOL.metrics:
        values = [scores[name].value for scores in found]
        assert abs(np.mean(values)) < 4 * np.std(values) / 10
    flat = Explanation(image=np.ones((7, 7)))
    assert all(score.degenerate and score.value == 0.0 for score in compare(flat, flat, flat).values())


def test_a_method_without_a_map_does_not_apply():
    words = Explanation(text=np.ones(2))
    assert all(isinstance(score, str) for score in compare(words, words, words).values())
