"""The cost of methods, whole runs, growth and settings, at the smallest sizes."""

import numpy as np
import pytest
import torch

from benchmark.encoders import load_encoder
from benchmark.explainers.fixlip import Fixlip
from benchmark.speed import growth, methods
from benchmark.speed.encoders import Shape, random_encoder
from benchmark.speed.timing import Clock

CLOCK = Clock(torch.device("cpu"), 1)


def test_the_passes_of_a_method_are_counted_per_pair():
    grad_eclip, mask_clip = methods.measure(CLOCK, ["grad_eclip", "mask_clip"], n_pairs=2, large=False)
    assert (grad_eclip.method, grad_eclip.encoder, grad_eclip.reason) == ("grad_eclip", "embedded", None)
    assert grad_eclip.forwards == pytest.approx(4)  # image and text twice: its own passes and the similarity it reports
    assert grad_eclip.library_passes is not None
    assert 0.5 < grad_eclip.library_passes < 50
    assert mask_clip.backwards == 0.0


def test_fixlip_in_three_ways_comes_to_the_same():
    encoder = random_encoder(Shape(image=32, patch=8, width=32, depth=2, heads=2))
    pair = encoder.pair_from_tensors(torch.randn(1, 3, 32, 32), torch.tensor([[126, 5, 6, 7, 9, 127]]))
    rows = methods.fixlip_in_three_ways(CLOCK, encoder, pair, Fixlip(image_budget=64, text_budget=16, pairs="cross"), 2)
    assert [row.way for row in rows] == ["naive", "ours", "library"]
    naive, ours, _ = rows
    assert ours.difference is not None
    assert ours.difference < 1e-4
    assert naive.of_naive is not None
    assert naive.of_naive.median == 1.0


def test_growth_with_tokens_encodes_as_many_tokens_as_it_says():
    encoder = load_encoder("embedded", device="cpu")
    assert encoder.n_patches == 49
    for prepare in (growth._tokens, growth._patches):
        found = prepare(CLOCK, 16)()
        assert np.asarray(found).shape[0] == 64
