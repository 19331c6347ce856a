"""Games of several pairs in shared passes: the same embeddings, the same number of passes, nothing asked twice."""

from dataclasses import astuple

import numpy as np
import pytest
import torch

from benchmark.explainers.occlusion import Occlusion
from benchmark.games.similarity import SimilarityGame
from benchmark.games.together import encode_together
from tests.small_encoders import FAMILIES, huggingface_clip_encoder, picture

TEXTS = ("a red star", "a blue moon and a ring", "a red moon", "red")


def asked(games: list[SimilarityGame]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random((9 + i, game.n_players)) < 0.6 for i, game in enumerate(games)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("removals", [("mask_pixels", "attention_mask"), ("drop_tokens", "replace_token")])
def test_embeddings_and_passes_are_those_of_each_game_alone(family: str, removals: tuple[str, str]) -> None:
    encoder = FAMILIES[family]()
    pairs = [encoder.pair(picture(i), text) for i, text in enumerate(TEXTS)]
    alone, shared = ([SimilarityGame(encoder, pair, removals[0], text_removal=removals[1]) for pair in pairs] for _ in range(2))
    coalitions = asked(alone)
    before = encoder.costs.copy()
    expected = [game.values(rows) for game, rows in zip(alone, coalitions, strict=True)]
    spent = encoder.costs - before
    before = encoder.costs.copy()
    encode_together(shared, coalitions)
    values = [game.values(rows) for game, rows in zip(shared, coalitions, strict=True)]
    assert astuple(encoder.costs - before) == pytest.approx(astuple(spent))
    for one, other in zip(values, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_what_was_encoded_together_needs_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = huggingface_clip_encoder()
    games = [SimilarityGame(encoder, encoder.pair(picture(i), "a red star"), batch_size=4) for i in range(3)]
    coalitions = asked(games)
    encode_together(games, coalitions)
    before = encoder.costs.copy()
    encode_together(games, coalitions)
    for game, rows in zip(games, coalitions, strict=True):
        game.values(rows)
    assert encoder.costs == before


def test_too_little_memory_leaves_the_work_to_each_game(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = huggingface_clip_encoder()
    games = [SimilarityGame(encoder, encoder.pair(picture(i), "a red star")) for i in range(3)]
    coalitions = asked(games)
    with monkeypatch.context() as patched:
        patched.setattr("benchmark.games.together._joined", _exhausted)
        encode_together(games, coalitions)
    assert not any(game.images.rows for game in games)
    assert np.isfinite(games[0].values(coalitions[0])).all()


def _exhausted(states: object) -> None:
    raise torch.OutOfMemoryError("no")


def test_occlusion_of_several_pairs_shares_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = huggingface_clip_encoder()
    pairs = [encoder.pair(picture(i), text) for i, text in enumerate(TEXTS)]
    rngs = [np.random.default_rng(0) for _ in pairs]
    alone = [Occlusion().explain(encoder, pair, rng) for pair, rng in zip(pairs, rngs, strict=True)]
    sizes: list[int] = []
    encode = type(encoder.image).encode
    monkeypatch.setattr(
        type(encoder.image), "encode", lambda tower, state: (sizes.append(len(state.hidden)), encode(tower, state))[1]
    )
    together = Occlusion().explain_pairs(encoder, pairs, rngs)
    assert max(sizes) > encoder.n_patches + 1  # more than the coalitions of one game
    for one, other in zip(together, alone, strict=True):
        assert np.allclose(one.image, other.image, atol=1e-5)
        assert np.allclose(one.text, other.text, atol=1e-5)
