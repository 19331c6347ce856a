"""Sanity on planted explanations, and on an encoder that forgets."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmark.data.base import Sample
from benchmark.encoders.custom import CustomEncoder
from benchmark.errors import InvalidExplanation
from benchmark.explanations import Explanation
from benchmark.metrics.agreement import unrelated_absolute_spearman
from benchmark.runner.evaluate import evaluate
from benchmark.tasks.base import Explained
from benchmark.tasks.probes import NonsenseCaption, OtherCaption
from benchmark.tasks.sanity import CAPTIONS, Sanity
from tests.small_encoders import huggingface_clip_encoder, picture

GRID = (7, 7)
PROTOCOL = Sanity(captions=("a blue circle", "a green square"))
EVALUATION = SimpleNamespace(encoder=SimpleNamespace(patch_grid=GRID, n_patches=49))
IMAGE_METRICS = [name for name in PROTOCOL.metrics if "tokens" not in name]


def noise(seed, shape=GRID):
    return np.random.default_rng(seed).standard_normal(shape)


def compare(own, others):
    """Score an explanation beside ``others(name)``, its probes' explanations."""
    probes = {probe.name: Explained(explanation=others(probe.name)) for probe in PROTOCOL.probes}
    return PROTOCOL.compare(Explained(explanation=own), probes, EVALUATION)


def reader(seed=0):
    """A deterministic method whose map depends on the encoder and on the caption."""
    own = Explanation(image=noise(seed), text=noise(seed, 40))
    changed = {probe.name: 1000 * (seed + 1) + i for i, probe in enumerate(PROTOCOL.probes)}
    return compare(
        own, lambda name: own if name == "seed" else Explanation(image=noise(changed[name]), text=noise(seed + 7, 40))
    )


def test_a_map_that_ignores_the_encoder_is_as_bad_as_it_gets():
    fixed = Explanation(image=noise(0), text=noise(0, 9))
    scores = compare(fixed, lambda name: fixed)
    for name in PROTOCOL.metrics:
        assert scores[name].value == pytest.approx(0.0 if "contrast" in name else 1.0), name
        assert not scores[name].degenerate


def test_a_map_that_reads_the_encoder_passes():
    found = [reader(seed) for seed in range(30)]
    chance = unrelated_absolute_spearman(49)

    def mean(name):
        return np.mean([scores[name].value for scores in found])

    assert mean("randomisation_contrast") == pytest.approx(1 - chance, abs=0.03)
    assert mean("caption_contrast") == pytest.approx(1 - chance, abs=0.08)
    assert mean("randomisation_abs_spearman") == pytest.approx(chance, abs=0.03)
    for tower in ("image", "text", "both", "projection"):
        assert abs(mean(f"randomisation_spearman_{tower}")) < 4 / np.sqrt(48 * 30)


def test_noise_is_at_chance_and_not_ahead():
    draws = 150
    found = [
        compare(Explanation(image=noise([i, 0])), lambda name, i=i: Explanation(image=noise([i, len(name), hash_of(name)])))
        for i in range(draws)
    ]
    chance = PROTOCOL.chance(EVALUATION)
    for name in IMAGE_METRICS:
        values = np.array([scores[name].value for scores in found])
        bias = 0.02 if name == "randomisation_ssim" else 0.003  # its small constants; the normal limit
        assert abs(values.mean() - chance[name]) < 4 * values.std() / np.sqrt(draws) + bias, name


def hash_of(name):
    return sum(ord(letter) * 31**i for i, letter in enumerate(name)) % 2**32


def test_a_turned_map_fools_only_the_signed_correlation():
    own = Explanation(image=noise(0))
    scores = compare(own, lambda name: own if name == "seed" else Explanation(image=-own.image))
    assert scores["randomisation_spearman_image"].value == pytest.approx(-1)
    assert scores["randomisation_abs_spearman"].value == pytest.approx(1)
    assert scores["randomisation_contrast"].value == pytest.approx(0)


def test_a_constant_map_scores_what_a_failure_does():
    flat = Explanation(image=np.ones(GRID), text=np.ones(4))
    scores = compare(flat, lambda name: flat)
    for name, chance in PROTOCOL.chance(EVALUATION).items():
        assert scores[name].degenerate
        assert scores[name].value == chance


def test_a_tower_averages_its_depths_and_keeps_each_as_a_flag():
    own, other = Explanation(image=noise(0)), Explanation(image=noise(1))
    scores = compare(own, lambda name: other if name == "image:all" else own)
    score = scores["randomisation_spearman_image"]
    assert set(score.flags) == {"image:last", "image:half", "image:all", "constant_others"}
    assert score.value == pytest.approx((2 + score.flags["image:all"]) / 3)
    assert scores["randomisation_spearman_text"].value == pytest.approx(1)


def test_missing_parts_do_not_apply():
    words = Explanation(text=noise(0, 6))
    scores = compare(words, lambda name: Explanation(text=noise(1, 3)) if name in ("caption", "nonsense") else words)
    assert all(isinstance(scores[name], str) for name in IMAGE_METRICS)
    assert scores["randomisation_spearman_tokens"].value == pytest.approx(1)
    cross = Explanation(cross=noise(0, (*GRID, 3)))
    scores = compare(cross, lambda name: Explanation(image=cross.cross.sum(axis=2)))
    assert scores["randomisation_spearman_both"].value == pytest.approx(1)
    assert isinstance(scores["randomisation_spearman_tokens"], str)
    with pytest.raises(InvalidExplanation, match="none for a changed one"):
        compare(Explanation(image=noise(0)), lambda name: words)
    assert all(isinstance(score, str) for score in PROTOCOL.score(words, EVALUATION).values())


def test_every_sample_gets_a_caption_of_something_else():
    for captions in CAPTIONS.values():
        probe = OtherCaption(captions)
        assert all(probe.text(caption) in set(captions) - {caption} for caption in captions)
    texts = {OtherCaption(CAPTIONS["scenes"]).text(f"text {i}") for i in range(60)}
    assert texts == set(CAPTIONS["scenes"])
    assert OtherCaption(CAPTIONS["scenes"]).text("text 1") == OtherCaption(CAPTIONS["scenes"]).text("text 1")


def test_nonsense_is_drawn_by_the_text_and_means_nothing():
    words = NonsenseCaption().text("a red star").split()
    assert len(words) == 5
    assert NonsenseCaption().text("a red star").split() == words
    assert NonsenseCaption().text("a red moon").split() != words
    assert not set(words) & {word for captions in CAPTIONS.values() for caption in captions for word in caption.split()}


@pytest.fixture(scope="module")
def frame():
    samples = [Sample(id=f"s{i}", image=picture(i), text="a red star", cluster=f"s{i}") for i in range(3)]
    methods = ["grad_eclip", "occlusion", "centre", "edge", "uniform", "random"]
    metrics = ["randomisation_contrast", "randomisation_spearman_both", "caption_contrast"]
    found = evaluate(huggingface_clip_encoder(), samples, methods=methods, metrics=metrics)
    return found.groupby(["method", "metric"]).agg({"value": "mean", "status": "first"})


def test_an_encoder_that_forgets_takes_a_real_methods_map_with_it(frame):
    values = frame["value"]
    for method in ("grad_eclip", "occlusion"):
        assert values[method, "randomisation_contrast"] > 0.4
        assert values[method, "randomisation_spearman_both"] < 0.7
    for method in ("centre", "edge"):
        assert values[method, "randomisation_contrast"] == pytest.approx(0)
        assert values[method, "caption_contrast"] == pytest.approx(0)
        assert values[method, "randomisation_spearman_both"] == pytest.approx(1)
    assert abs(values["random", "randomisation_contrast"]) < 0.25
    assert set(frame["status"]["uniform"]) == {"degenerate"}


def test_an_encoder_whose_weights_cannot_be_drawn_anew_is_unsupported():
    encoder = huggingface_clip_encoder()
    bare = CustomEncoder(
        "bare",
        image=encoder.image,
        text=encoder.text,
        patch_grid=encoder.patch_grid,
        image_tokens=encoder.image_tokens,
        text_tokens=encoder.text_tokens,
        tokenize=encoder.tokenize,
        preprocess=encoder.preprocess,
        read_positions=encoder.read_positions,
    )
    sample = Sample(id="one", image=picture(), text="a red star", cluster="one")
    found = evaluate(bare, [sample], methods=["occlusion"], metrics=["randomisation_contrast"])
    assert list(found["status"]) == ["unsupported"]
    assert "bare is no Hugging Face or open_clip model" in found["reason"][0]
