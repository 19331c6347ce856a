"""Remove and retrain: the bookkeeping on a tiny model; what removal does to accuracy is measured by the command."""

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from benchmark.data.grammar import BOS, CONTEXT, EOS, PAD, VOCABULARY
from benchmark.data.scenes import Scenes
from benchmark.embedded.roar import Pairs, Settings, kept, phrase_pairs, rankings, remove_and_retrain, retrieval, train
from benchmark.encoders import load_encoder
from benchmark.errors import InvalidInput
from benchmark.explainers.base import EXPLAINERS
from benchmark.runner.catalogue import register


def tiny(start: str = "scratch") -> CLIPModel:
    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": len(VOCABULARY), "max_position_embeddings": CONTEXT, "pad_token_id": PAD}
    config = CLIPConfig(
        vision_config={**tower, "image_size": 112, "patch_size": 16},
        text_config={**tower, **text, "bos_token_id": BOS, "eos_token_id": EOS},
        projection_dim=16,
    )
    return CLIPModel(config).eval()


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return phrase_pairs(Scenes(), 0, 24)


def test_the_first_patches_of_an_order_are_removed() -> None:
    orders = np.stack([np.random.default_rng(i).permutation(49) for i in range(3)])
    for fraction, n in ((0.0, 0), (0.5, 24), (1.0, 49)):
        keep = kept(orders, fraction)
        assert (~keep).sum(axis=1).tolist() == [n] * 3
        assert not any(keep[row, orders[row, :n]].any() for row in range(3))
    with pytest.raises(InvalidInput, match="0 to 1"):
        kept(orders, 1.5)


def test_training_and_held_out_pairs_share_no_image() -> None:
    first, second = phrase_pairs(Scenes(), 0, 6), phrase_pairs(Scenes(), 6, 6)
    assert {sample.cluster for sample in first.samples}.isdisjoint(sample.cluster for sample in second.samples)
    assert [np.asarray(sample.image).tobytes() for sample in second.samples] == [image.tobytes() for image in second.pixels]


def test_removing_everything_leaves_every_image_the_same_answer(pairs: Pairs) -> None:
    model = tiny()
    nothing, chance = retrieval(model, pairs, np.zeros((24, 49), dtype=bool))
    _, same = retrieval(model, pairs, np.ones((24, 49), dtype=bool))
    assert chance == same
    assert 0 < chance < 0.3
    assert nothing < 0.6  # one and the same text is true of few images


def test_training_learns_the_pairs_and_repeats_exactly(pairs: Pairs) -> None:
    keep = np.ones((24, 49), dtype=bool)
    settings = Settings(pairs=24, steps=60, batch=24, start="scratch")
    before, _ = retrieval(tiny(), pairs, keep)
    models = [train(tiny(), pairs, keep, settings) for _ in range(2)]
    after, chance = retrieval(models[0], pairs, keep)
    assert after > before + 0.2
    assert after > chance + 0.2
    assert all(torch.equal(*both) for both in zip(*(model.state_dict().values() for model in models), strict=True))


@pytest.mark.slow
def test_every_method_and_fraction_gives_one_result() -> None:
    register()
    encoder = load_encoder("embedded", device="cpu")
    settings = Settings(pairs=16, held_out=12, steps=2, batch=8, start="scratch")
    explainers = [EXPLAINERS[name].configure({}) for name in ("centre", "random")]
    results = remove_and_retrain(encoder, explainers, (0.0, 0.5), settings, begin=tiny)
    assert [(result.method, result.fraction, result.n) for result in results] == [
        (name, fraction, 12) for name in ("centre", "random") for fraction in (0.0, 0.5)
    ]
    assert results[0].accuracy == results[2].accuracy  # nothing removed: the method cannot matter
    orders = rankings(encoder, explainers[0], phrase_pairs(Scenes(), 0, 2), seed=0)
    assert (np.sort(orders, axis=1) == np.arange(49)).all()
    assert set(orders[:, 0]) == {24}  # the centre of 7 x 7
