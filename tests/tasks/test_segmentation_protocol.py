"""Segmentation scores of maps made by hand, on an encoder that crops and on one that squashes."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.data.base import Phrase, Region, Sample
from benchmark.encoders.geometry import Geometry
from benchmark.explanations import Explanation
from benchmark.metrics.base import METRICS
from benchmark.metrics.segmentation import iou_mean, upsample
from benchmark.tasks.base import Evaluation
from benchmark.tasks.segmentation_protocol import Segmentation, distances_from, frame_mask
from tests.small_encoders import huggingface_clip_encoder, picture, siglip_encoder

TEXT = "a red star"
BOX = np.array([[4.0, 5.0, 28.0, 24.0]])


def evaluation(encoder, *regions: Region) -> Evaluation:
    phrases = tuple(Phrase(span=(2, 10), region=region) for region in regions)
    return Evaluation(encoder, Sample(id="one", image=picture(), text=TEXT, cluster="one", phrases=phrases))


@pytest.fixture(params=[huggingface_clip_encoder, siglip_encoder], ids=["crop", "squash"])
def seen(request) -> Evaluation:
    return evaluation(request.param(), Region(boxes=BOX))


def test_a_box_and_its_mask_are_the_same_pixels(seen):
    mask = np.zeros((40, 48), dtype=bool)
    mask[5:24, 4:28] = True
    geometry = seen.pair.geometry
    assert np.array_equal(frame_mask(geometry, Region(boxes=BOX)), frame_mask(geometry, Region(boxes=BOX, mask=mask)))


def test_pixels_of_the_frame_agree_with_the_shares_of_its_patches(seen):
    geometry = seen.pair.geometry
    pixels = frame_mask(geometry, Region(boxes=BOX)).astype(float)
    size = geometry.patch_size
    shares = pixels.reshape(pixels.shape[0] // size, size, -1, size).mean(axis=(1, 3))
    assert shares == pytest.approx(seen.pair.coverage(Region(boxes=BOX)), abs=1 / size)


def test_padding_lies_in_no_region():
    geometry = Geometry.pad((40, 20), (32, 32), 8)
    everywhere = Region(boxes=np.array([[0.0, 0.0, 40.0, 20.0]]))
    for region in (everywhere, replace(everywhere, mask=np.ones((20, 40), dtype=bool))):
        mask = frame_mask(geometry, region)
        assert mask[8:24].all()
        assert not mask[:8].any()
        assert not mask[24:].any()


def test_scores_are_those_of_the_interpolated_map(seen):
    heat = np.random.default_rng(0).standard_normal(seen.encoder.patch_grid)
    scores = Segmentation().score(Explanation(image=heat), seen)
    mask = frame_mask(seen.pair.geometry, Region(boxes=BOX))
    assert set(scores) == set(Segmentation().metrics) <= set(METRICS)
    expected = iou_mean(upsample(heat, mask.shape), mask)
    assert scores["iou_mean"].value == pytest.approx(expected.value)
    assert scores["iou_mean"].flags["union"] == expected.flags["union"]


def test_distances_are_those_of_patch_centres_in_pixels_of_the_original(seen):
    geometry = seen.pair.geometry
    mask = frame_mask(geometry, Region(boxes=BOX))
    rows, columns = np.nonzero(mask)
    at = np.arange(4) * geometry.patch_size + geometry.patch_size // 2
    down = (at[:, None, None] - rows) / geometry.scale[1]
    across = (at[None, :, None] - columns) / geometry.scale[0]
    assert distances_from(mask, geometry) == pytest.approx(np.hypot(down, across).min(axis=2))


def test_the_radius_reaches_the_disc(seen):
    heat = Explanation(image=np.random.default_rng(1).standard_normal(seen.encoder.patch_grid))
    chance = [Segmentation(radius=radius).score(heat, seen)["pointing_disc"].chance for radius in (0.0, 6.0, 100.0)]
    assert chance[0] < chance[1] < chance[2] == 1


def test_random_maps_are_at_chance(seen):
    rng = np.random.default_rng(4)
    found = [Segmentation().score(Explanation(image=rng.standard_normal((4, 4))), seen) for _ in range(300)]
    for name in ("two_channel_ap", "rank_accuracy", "pointing_disc", "mean_score_contrast", "pixel_accuracy"):
        values = np.array([scores[name].value for scores in found])
        assert abs(values.mean() - found[0][name].chance) < 4 * values.std() / np.sqrt(len(values))


def test_the_region_leads_and_a_constant_map_scores_what_a_failure_does(seen):
    region = seen.pair.coverage(Region(boxes=BOX))
    protocol = Segmentation()
    right = protocol.score(Explanation(image=region), seen)
    constant = protocol.score(Explanation(image=np.ones(seen.encoder.patch_grid)), seen)
    for name, chance in protocol.chance(seen).items():
        assert right[name].value > chance
        assert constant[name].degenerate
        assert constant[name].value == pytest.approx(chance)


def test_phrases_are_averaged_with_their_counts():
    encoder, other = huggingface_clip_encoder(), np.array([[20.0, 8.0, 40.0, 30.0]])
    heat = Explanation(image=np.random.default_rng(2).standard_normal(encoder.patch_grid))
    single = [Segmentation().score(heat, evaluation(encoder, Region(boxes=boxes))) for boxes in (BOX, other)]
    both = Segmentation().score(heat, evaluation(encoder, Region(boxes=BOX), Region(boxes=other)))
    for name in ("iou_mean", "pointing_disc", "rank_accuracy"):
        assert both[name].value == pytest.approx(np.mean([scores[name].value for scores in single]))
    assert both["iou_mean"].flags["union"] == np.mean([scores["iou_mean"].flags["union"] for scores in single])
    assert both["iou_mean"].flags["phrases"] == 2


def test_a_text_explanation_has_no_pixels(seen):
    scores = Segmentation().score(Explanation(text=np.ones(seen.pair.n_tokens)), seen)
    assert set(scores) == set(Segmentation().metrics)
    assert all("no map" in score for score in scores.values())


def test_what_cannot_be_seen_is_excluded():
    encoder = huggingface_clip_encoder()
    assert Segmentation().excluded(evaluation(encoder, Region(boxes=BOX - 200)))
    assert Segmentation().excluded(evaluation(encoder))
