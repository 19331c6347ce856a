"""Robustness on planted explanations, and what its probes do to an image."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import ImageOps

from benchmark.data.base import Sample
from benchmark.explanations import Explanation
from benchmark.metrics.agreement import unrelated_change
from benchmark.runner.evaluate import evaluate
from benchmark.tasks.base import Evaluation, Explained
from benchmark.tasks.probes import Crop, Jpeg, Mirror, Noise
from benchmark.tasks.robustness import Robustness
from tests.small_encoders import FAMILIES, MEAN, STD, huggingface_clip_encoder, picture

GRID = (7, 7)
PROTOCOL = Robustness()
EVALUATION = SimpleNamespace(encoder=SimpleNamespace(patch_grid=GRID, n_patches=49))
TEXT = "a red star left of a blue circle"


def noise(seed, shape=GRID):
    return np.random.default_rng(seed).standard_normal(shape)


def compare(image, others, similarity=lambda name: 0.3):
    own = Explained(explanation=Explanation(image=image), similarity=0.3)
    probes = {
        probe.name: Explained(explanation=Explanation(image=others(probe.name)), similarity=similarity(probe.name))
        for probe in PROTOCOL.probes
    }
    return PROTOCOL.compare(own, probes, EVALUATION)


def evaluation(encoder=None, image=None):
    sample = Sample(id="one", image=image or picture(), text=TEXT, cluster="one")
    return Evaluation(encoder or huggingface_clip_encoder(), sample)


def test_a_map_that_follows_the_image_is_robust():
    own = noise(0)
    scores = compare(own, lambda name: own[:, ::-1] if name == "mirror" else own)
    for name in PROTOCOL.metrics:
        assert scores[name].value == pytest.approx(0.0 if "sensitivity" in name else 1.0), name
    assert scores["robustness_spearman"].flags["ignores_input"] == 1  # nothing but a mirror moved it


def test_a_map_that_never_moves_is_flagged():
    still = noise(0) + noise(0)[:, ::-1]
    scores = compare(still, lambda name: still)
    assert scores["robustness_spearman"].value == pytest.approx(1)
    assert {score.flags["ignores_input"] for score in scores.values()} == {1.0}
    moved = compare(still, lambda name: still + (name == "jpeg-75") * 1e-6 * noise(1))
    assert {score.flags["ignores_input"] for score in moved.values()} == {0.0}


def test_noise_is_at_chance():
    draws = 150
    found = [compare(noise([i, 0]), lambda name, i=i: noise([i, *name.encode()])) for i in range(draws)]
    for name, chance in PROTOCOL.chance(EVALUATION).items():
        values = np.array([scores[name].value for scores in found])
        bias = 0.02 if name == "robustness_ssim" else 0.01 if "sensitivity" in name else 0.0  # its constants; a drawn chance
        assert abs(values.mean() - chance) < 4 * values.std() / np.sqrt(draws) + bias, name


def test_a_constant_map_scores_what_a_failure_does():
    scores = compare(np.ones(GRID), lambda name: np.ones(GRID))
    for name, chance in PROTOCOL.chance(EVALUATION).items():
        assert scores[name].degenerate
        assert scores[name].value == pytest.approx(chance)


def test_sensitivity_leaves_out_draws_that_change_the_similarity():
    own = noise(0)
    worse = {"noise-2-0": 1.5 * own, "noise-2-1": 3 * own, "noise-8-0": 1.25 * own, "noise-8-1": 3 * own}
    drift = {"noise-2-1": 0.3 * 1.06, "noise-8-0": 0.24, "noise-8-1": -0.3}
    scores = compare(own, lambda name: worse.get(name, own), lambda name: drift.get(name, 0.3))
    assert scores["max_sensitivity_2"].value == pytest.approx(0.5)
    assert scores["max_sensitivity_2"].flags["draws"] == 1
    assert scores["max_sensitivity_2"].chance == unrelated_change(49, 1)
    assert scores["max_sensitivity_2"].flags["drift"] == 0
    assert scores["max_sensitivity_8"].value == pytest.approx(0.25)  # none is left, so the one that drifts least
    assert scores["max_sensitivity_8"].flags["drift"] == pytest.approx(0.2)


def test_a_deterministic_method_is_said_to_be_one():
    explanation = Explanation(image=noise(0))
    same = {probe.name: Explained(explanation=explanation, similarity=0.3) for probe in PROTOCOL.probes}
    own = Explained(explanation=explanation, similarity=0.3)
    assert PROTOCOL.compare(own, same, EVALUATION)["seed_agreement"].flags["deterministic"] == 1
    drawn = same | {"seed": Explained(explanation=Explanation(image=noise(1)), similarity=0.3)}
    score = PROTOCOL.compare(own, drawn, EVALUATION)["seed_agreement"]
    assert score.flags["deterministic"] == 0
    assert score.value < 0.5


def test_words_alone_have_no_map():
    own = Explained(explanation=Explanation(text=np.arange(3.0)))
    assert all(isinstance(score, str) for score in PROTOCOL.compare(own, {}, EVALUATION).values())
    assert all(isinstance(score, str) for score in PROTOCOL.score(own.explanation, EVALUATION).values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("radius", [2, 8])
def test_noise_stays_within_its_radius_and_within_the_image(family, radius):
    before = evaluation(FAMILIES[family]())
    after = Noise(radius, 0).pair(before)
    mean, std = (0.5, 0.5) if family == "huggingface-siglip" else (MEAN, STD)
    mean, std = (torch.tensor(value).expand(3)[:, None, None] for value in (mean, std))
    old, new = (values[0] * std + mean for values in (before.pair.pixel_values, after.pixel_values))
    assert radius / 255 * 0.99 < (new - old).abs().max() <= radius / 255 + 1e-5
    assert new.min() >= -1e-5
    assert new.max() <= 1 + 1e-5
    assert torch.equal(after.input_ids, before.pair.input_ids)


def test_every_method_meets_the_same_noise_and_every_draw_another():
    first, again, other = (Noise(8, draw).pair(evaluation()).pixel_values for draw in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_mirror_exchanges_left_and_right():
    assert Mirror().text("a star right of a moon, left upper") == "a star left of a moon, right upper"
    assert Mirror().text("bright leftovers") == "bright leftovers"
    mirrored = Mirror().pair(evaluation())
    image = ImageOps.mirror(picture())
    assert torch.equal(mirrored.pixel_values, huggingface_clip_encoder().pair(image, TEXT).pixel_values)


def test_jpeg_and_a_crop_change_little_but_something():
    before = evaluation(image=picture(size=(100, 50)))
    for probe in (Jpeg(75), Crop(2)):
        after = probe.pair(before).pixel_values
        change = (after - before.pair.pixel_values).abs().mean()
        assert 0 < change < before.pair.pixel_values.abs().mean()
    assert Crop(2).pair(before).geometry.scale != before.pair.geometry.scale
    assert Jpeg(75).pair(before).geometry == before.pair.geometry


def test_a_fixed_map_leads_and_noise_is_last_on_a_real_encoder():
    samples = [Sample(id="one", image=picture(), text="a red star", cluster="one")]
    metrics = ["max_sensitivity_2", "robustness_spearman", "seed_agreement"]
    found = evaluate(
        huggingface_clip_encoder(), samples, methods=["centre", "grad_eclip", "random", "uniform"], metrics=metrics
    )
    values = found.groupby(["metric", "method"])["value"].mean()
    assert values["robustness_spearman", "centre"] == pytest.approx(1)
    assert values["max_sensitivity_2", "centre"] == 0 < values["max_sensitivity_2", "grad_eclip"] < 1
    assert values["seed_agreement", "grad_eclip"] == pytest.approx(1)
    assert values["max_sensitivity_2", "random"] > 1
    assert set(found[found["method"] == "uniform"]["status"]) == {"degenerate"}
