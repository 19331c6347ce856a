from dataclasses import replace

import numpy as np
import pytest

from benchmark.data.base import Phrase, Region, Sample
from benchmark.errors import InvalidInput
from benchmark.explainers.controls import Centre, Oracle, patch_means
from benchmark.explaining import explain
from tests.small_encoders import huggingface_clip_encoder, picture

TEXT = "a red star left of the circle"


@pytest.fixture
def encoder():
    return huggingface_clip_encoder()


@pytest.fixture
def pair(encoder):
    return encoder.pair(picture(size=(32, 32)), TEXT)


def region(*boxes: tuple[float, float, float, float]) -> Region:
    return Region(boxes=np.array(boxes, dtype=np.float64))


def sample_with(*phrases: Phrase) -> Sample:
    return Sample(id="one", image=picture(size=(32, 32)), text=TEXT, cluster="one", phrases=phrases)


def test_random_scores_follow_the_seed(encoder, pair):
    first, again, other = (explain(encoder, pair, "random", seed=seed) for seed in (1, 1, 2))
    assert first.to_bytes() == again.to_bytes() != other.to_bytes()
    assert (first.image < 0).any()
    assert (first.image > 0).any()


def test_uniform_scores_are_all_equal(encoder, pair):
    explanation = explain(encoder, pair, "uniform")
    for name, array in explanation.arrays().items():
        assert (array == 1).all(), name


def test_centre_is_highest_in_the_middle_and_symmetric(encoder, pair):
    image = explain(encoder, pair, "centre").image
    assert np.allclose(image, image[::-1])
    assert np.allclose(image, image.T)
    assert image[1, 1] == image.max() > image[0, 1] > image[0, 0]


def test_centre_bell_has_the_written_width():
    assert Centre()._bell(5)[0] == pytest.approx(np.exp(-0.5 * (2 / (0.25 * 5)) ** 2))


def test_centre_refuses_an_impossible_width():
    with pytest.raises(InvalidInput, match="sigma"):
        Centre(sigma=0.0)


def test_edge_finds_the_patches_that_a_luminance_step_crosses(encoder, pair):
    pixels = pair.pixel_values.clone().zero_()
    pixels[..., 12:] = 1.0  # a vertical step inside the second column of 8-pixel patches
    explanation = explain(encoder, replace(pair, pixel_values=pixels), "edge")
    assert explanation.image.argmax(axis=1).tolist() == [1, 1, 1, 1]
    assert np.allclose(explanation.image[:, [0, 2, 3]], 0)
    assert explanation.text is None


def test_patch_means_leave_out_pixels_that_no_patch_holds():
    pixels = np.arange(25.0).reshape(5, 5)
    assert patch_means(pixels, (2, 2)).tolist() == [[3, 5], [13, 15]]


def test_oracle_gives_coverage_for_the_image_and_the_tokens_of_each_phrase(encoder, pair):
    star, circle = Phrase(span=(2, 10), region=region((0, 0, 8, 8))), Phrase(span=(23, 29), region=region((16, 0, 20, 8)))
    explanation = Oracle().explain_sample(encoder, pair, sample_with(star, circle))
    explanation.check(encoder.patch_grid, pair.n_tokens)
    assert pair.tokens == ("a", "red", "star", "left", "of", "the", "circle")
    assert explanation.text.tolist() == [0, 1, 1, 0, 0, 0, 1]
    assert explanation.image[0].tolist() == [0.5, 0, 0.25, 0]
    assert explanation.cross[0, :, 2].tolist() == [1, 0, 0, 0]
    assert explanation.cross[0, :, 6].tolist() == [0, 0, 0.5, 0]
    assert not explanation.cross[:, :, 0].any()


def test_oracle_takes_the_larger_coverage_where_phrases_share_a_token(encoder, pair):
    whole, part = Phrase(span=(2, 10), region=region((0, 0, 8, 8))), Phrase(span=(6, 10), region=region((0, 0, 4, 8)))
    explanation = Oracle().explain_sample(encoder, pair, sample_with(whole, part))
    assert explanation.cross[0, 0, 2] == 1


def test_oracle_says_that_a_sample_without_phrases_has_no_truth(encoder, pair):
    with pytest.raises(InvalidInput, match="'one' has none"):
        Oracle().explain_sample(encoder, pair, sample_with())


def test_oracle_outside_a_task_says_why_it_does_not_run(encoder, pair):
    with pytest.raises(InvalidInput, match="true regions"):
        explain(encoder, pair, "oracle")
