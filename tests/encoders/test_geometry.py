import numpy as np
import pytest
import torch
from open_clip import image_transform
from PIL import Image

from benchmark.data.base import Region
from benchmark.encoders import Geometry, wrap_encoder
from tests.encoders.small_encoders import (
    clip_processor,
    hf_clip,
    hf_siglip,
    open_clip_model,
    siglip_processor,
    word_clip,
    word_tokenizer,
)

SIZE = 224


def open_clip_preprocessing(**options):
    def prepare(image):
        encoder = wrap_encoder(
            open_clip_model(), image_transform(SIZE, is_train=False, mean=(0, 0, 0), std=(1, 1, 1), **options)
        )
        return encoder.preprocess(image)

    return prepare


def huggingface_preprocessing(model, processor):
    processor.image_mean, processor.image_std = [0, 0, 0], [1, 1, 1]
    return lambda image: wrap_encoder(model(), processor).preprocess(image)


def clip_with_square_resize():
    processor = clip_processor(SIZE)
    processor.size = {"height": 256, "width": 256}
    return processor


PREPROCESSING = {
    "hf clip": huggingface_preprocessing(lambda: hf_clip(image_size=SIZE), clip_processor(SIZE)),
    "hf clip, square then crop": huggingface_preprocessing(lambda: hf_clip(image_size=SIZE), clip_with_square_resize()),
    "hf siglip": huggingface_preprocessing(lambda: hf_siglip(image_size=SIZE), siglip_processor(SIZE)),
    "open_clip shortest": open_clip_preprocessing(resize_mode="shortest"),
    "open_clip squash": open_clip_preprocessing(resize_mode="squash"),
    "open_clip longest": open_clip_preprocessing(resize_mode="longest"),
}


@pytest.mark.parametrize("size", [(640, 427), (333, 500), (224, 224), (97, 61)])
@pytest.mark.parametrize("name", PREPROCESSING)
def test_boxes_land_within_a_pixel_of_where_the_real_processor_puts_them(name, size):
    width, height = size
    rng = np.random.default_rng(width)
    for _ in range(3):
        x0, y0 = rng.integers(0, width // 2), rng.integers(0, height // 2)
        x1, y1 = rng.integers(x0 + width // 5, width + 1), rng.integers(y0 + height // 5, height + 1)
        array = np.zeros((height, width, 3), dtype=np.uint8)
        array[y0:y1, x0:x1] = 255
        pixels, geometry = PREPROCESSING[name](Image.fromarray(array))
        drawn = pixels[0, 0].numpy()
        left, top, right, bottom = geometry.boxes_to_frame(np.array([[x0, y0, x1, y1]], dtype=float))[0]
        assert geometry.frame_size == (SIZE, SIZE)
        if right - left < 4 or bottom - top < 4:
            continue
        across, down = edges(drawn[int(top + bottom) // 2]), edges(drawn[:, int(left + right) // 2])
        assert np.abs(np.array([across[0], down[0], across[1], down[1]]) - [left, top, right, bottom]).max() <= 1.0


def edges(profile):
    """Return where a row of pixels crosses one half on its way up and down; the frame's border if it does not."""
    inside = (profile > 0.5).nonzero()[0]
    first, last = inside[0], inside[-1]
    up = first - 0.5 + (0.5 - profile[first - 1]) / (profile[first] - profile[first - 1]) if first else 0.0
    down = last + 0.5 + (profile[last] - 0.5) / (profile[last] - profile[last + 1]) if last + 1 < len(profile) else len(profile)
    return up, down


def region(*boxes, mask=None):
    return Region(boxes=np.array(boxes, dtype=float).reshape(-1, 4), mask=mask)


def test_the_coverage_of_everything_is_one_and_sums_are_areas():
    geometry = Geometry.squash((100, 60), (32, 32), 8)
    assert geometry.grid == (4, 4)
    np.testing.assert_allclose(geometry.coverage(region([0, 0, 100, 60])), 1)
    box = region([10, 7, 73, 41])
    patch_area = (8 / geometry.scale[0]) * (8 / geometry.scale[1])
    assert geometry.coverage(box).sum() * patch_area == pytest.approx(63 * 34)
    assert geometry.visible_fraction(box) == pytest.approx(1)


def test_overlapping_boxes_are_counted_once():
    geometry = Geometry.squash((32, 32), (32, 32), 8)
    both = geometry.coverage(region([0, 0, 12, 8], [4, 0, 16, 8], [4, 0, 12, 4]))
    np.testing.assert_allclose(both[0], [1, 1, 0, 0])


def test_a_mask_goes_before_its_boxes():
    mask = np.zeros((32, 32), dtype=bool)
    mask[:4, :8] = True
    coverage = Geometry.squash((32, 32), (32, 32), 8).coverage(region([0, 0, 32, 32], mask=mask))
    assert coverage[0, 0] == 0.5
    assert coverage.sum() == 0.5


def test_what_is_cropped_away_is_not_visible():
    geometry = Geometry.fit((64, 32), (32, 32), 8)
    assert geometry.visible_fraction(region([0, 0, 16, 32])) == 0
    assert geometry.visible_fraction(region([8, 0, 24, 32])) == pytest.approx(0.5)
    assert geometry.coverage(region([0, 0, 16, 32])).sum() == 0
    np.testing.assert_allclose(geometry.boxes_to_frame(np.array([[8.0, 0, 24, 32]])), [[0, 0, 8, 32]])


def test_pixels_that_no_patch_covers_are_not_visible():
    geometry = Geometry.squash((30, 30), (30, 30), 8)
    assert geometry.grid == (3, 3)
    assert geometry.visible_fraction(region([24, 0, 30, 30])) == 0
    assert geometry.visible_fraction(region([0, 0, 30, 30])) == pytest.approx(24 * 24 / 900)


def test_an_empty_region_covers_nothing():
    geometry = Geometry.squash((32, 32), (32, 32), 8)
    for nothing in (region(), region([4, 4, 4, 9]), region(mask=np.zeros((32, 32), dtype=bool))):
        assert geometry.coverage(nothing).sum() == 0
        assert geometry.visible_fraction(nothing) == 0


def test_padding_is_no_part_of_the_image():
    geometry = Geometry.pad((64, 32), (32, 32), 8)
    coverage = geometry.coverage(region([0, 0, 64, 32]))
    np.testing.assert_allclose(coverage, np.repeat([[0.0], [1], [1], [0]], 4, axis=1))
    assert geometry.visible_fraction(region([0, 0, 64, 32])) == pytest.approx(1)


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (33, 50), (1, 40)])
def test_the_frame_shows_what_the_processor_showed_the_encoder(size):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    image = small.resize(size, Image.Resampling.BICUBIC)
    processor = clip_processor(32)
    processor.image_mean, processor.image_std = [0, 0, 0], [1, 1, 1]
    encoder = wrap_encoder(word_clip(), processor, word_tokenizer())
    pair = encoder.pair(image, "a star")
    assert pair.frame is not None
    assert pair.frame.size == (32, 32)
    shown = torch.from_numpy(np.array(pair.frame)).permute(2, 0, 1) / 255
    assert (shown - pair.pixel_values[0]).abs().mean() < 0.05
    assert pair.coverage(region([0, 0, *size])).shape == (4, 4)
