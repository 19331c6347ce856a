import gc
from weakref import ref

import numpy as np
import pytest
import torch

from benchmark.encoders import Site, wrap_encoder
from benchmark.explainers.fixlip import Fixlip
from benchmark.explainers.image_sides import BYTES, MOST, ImageSide, ImageSides, image_digest
from benchmark.games.sampling import sample_coalitions
from tests.small_encoders import huggingface_clip_encoder, picture


def side(n_bytes=0):
    return ImageSide(sample_coalitions(4, 8), np.zeros(n_bytes, dtype=np.uint8).view(np.float32)[:, None], np.zeros((1, 1)))


@pytest.fixture
def encoder():
    return huggingface_clip_encoder()


def test_the_last_few_images_are_kept_and_the_oldest_go_first(encoder):
    sides, made = ImageSides(), []
    for key in (0, 1, 2, 3, 0, 4, 0, 1):
        sides.find(encoder, key, lambda key=key: made.append(key) or side())
    assert MOST == 4
    assert made == [0, 1, 2, 3, 4, 1]  # 0 was used again before 4 came, so 1 had to go


def test_what_would_take_too_much_memory_is_not_kept(encoder):
    sides, made = ImageSides(), []
    for key, n_bytes in ((0, 1000), (1, BYTES), (1, BYTES), (0, 1000)):
        sides.find(encoder, key, lambda key=key, n_bytes=n_bytes: made.append(key) or side(n_bytes))
    assert made == [0, 1, 1, 0]


def test_nothing_is_kept_while_the_tower_is_changed(encoder):
    sides, made = ImageSides(), []
    with encoder.trace(Site("image", 0, "output")):
        for _ in range(2):
            sides.find(encoder, "image", lambda: made.append(1) or side())
    assert len(made) == 2


def test_an_encoder_that_goes_takes_its_images_with_it(encoder):
    copy = wrap_encoder(encoder.model, encoder.processor, encoder.tokenizer)
    Fixlip(image_budget=32, text_budget=7).explain(copy, copy.pair(picture(), "a red star"), np.random.default_rng(0))
    gone = ref(copy)
    del copy
    gc.collect()
    assert gone() is None


def test_an_image_is_named_by_its_content_alone():
    pixels = torch.randint(0, 8, (1, 3, 4, 6)).float()
    assert image_digest(pixels) == image_digest(pixels.bfloat16()) == image_digest(pixels.mT.contiguous().mT)
    assert image_digest(pixels) != image_digest(pixels + 1)
    assert image_digest(pixels) != image_digest(pixels.view(1, 3, 6, 4))


def test_proxyshap_shares_the_image_side_too(encoder):
    pytest.importorskip("xgboost", reason="proxyshap needs the boost extra")
    explainer = Fixlip(estimator="proxyshap", image_budget=64, text_budget=7, n_trees=5)
    pairs = [encoder.pair(picture(11), text) for text in ("a red star", "the blue circle on the left")]
    explainer.explain(encoder, pairs[0], np.random.default_rng(0))
    before = encoder.costs.copy()
    explainer.explain(encoder, pairs[1], np.random.default_rng(0))
    assert (encoder.costs - before).image_forwards == 0
