"""Insertion and deletion keep the curve that their area is of."""

import numpy as np
import pytest

from benchmark.data.base import Sample
from benchmark.explanations import Explanation
from benchmark.tasks.base import Evaluation
from benchmark.tasks.faithfulness import REMOVED, Perturbation
from tests.small_encoders import huggingface_clip_encoder, picture


def test_insertion_and_deletion_keep_their_curve_in_the_flags():
    evaluation = Evaluation(
        huggingface_clip_encoder(), Sample(id="one", image=picture(), text="a red star", cluster="one", phrases=())
    )
    heat = np.random.default_rng(0).standard_normal((4, 4))
    scores = Perturbation(variants=("image",)).score(Explanation(image=heat), evaluation)
    game = evaluation.game()
    whole, empty = game.cross_values(np.array([[True] * 16, [False] * 16]), np.ones((1, game.n_tokens), dtype=bool))[:, 0]
    for name in ("insertion_image", "deletion_image"):
        curve = [scores[name].flags[f"removed_{percent:03d}"] for percent in REMOVED]
        assert curve[0] == pytest.approx(whole, abs=1e-6)
        assert curve[-1] == pytest.approx(empty, abs=1e-6)
        assert np.ptp(curve) > 0
    kept = [scores[name].flags["removed_050"] for name in ("insertion_image", "deletion_image")]
    order = np.argsort(-heat.ravel())
    half = np.ones((2, 16), dtype=bool)
    half[0, order[8:]], half[1, order[:8]] = False, False
    assert kept == pytest.approx(game.cross_values(half, np.ones((1, game.n_tokens), dtype=bool))[:, 0], abs=1e-6)
    assert not any(flag.startswith("removed") for flag in scores["area_image"].flags)
