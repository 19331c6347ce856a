"""The embedded encoder: its files, its tokenizer, a small gate, and one step of the training that made it."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

from benchmark.data.grammar import CONTEXT, EOS, MASK, VOCABULARY, pack, slots
from benchmark.data.phantoms import Phantoms
from benchmark.data.scenes import Scenes
from benchmark.embedded.batches import Recipe, make_batch
from benchmark.embedded.evaluate import Embedder, caption_preferences, deletion, rate_of
from benchmark.embedded.model import (
    FOLDER,
    cosine_basis,
    embed_images,
    initial_model,
    make_tokenizer,
    normalise,
    zero_patches,
)
from benchmark.embedded.removal import N_PATCHES, keep_patches, patch_areas, seen_share
from benchmark.embedded.train import Settings, batch_loss, contrast, edit_contrast, recipe_at


@pytest.fixture(scope="module")
def model():
    return CLIPModel.from_pretrained(FOLDER).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


def test_the_committed_encoder_is_small():
    files = [file for file in FOLDER.iterdir() if file.suffix in {".json", ".safetensors"}]
    assert sum(file.stat().st_size for file in files) < 12e6


def test_the_encoder_sees_seven_by_seven_patches_and_ends_texts_with_its_own_token(model):
    vision, text = model.config.vision_config, model.config.text_config
    assert (vision.image_size // vision.patch_size) == 7
    assert text.eos_token_id == EOS != 2
    assert text.max_position_embeddings == CONTEXT


@pytest.mark.parametrize("data", [Scenes(), Phantoms()], ids=["scenes", "phantoms"])
def test_the_tokenizer_reads_captions_as_training_wrote_them(tokenizer, data):
    samples = data.samples("captions", 30)
    statements, _ = data.caption_statements(data.draw(samples.indices), samples.indices)
    input_ids, attention_mask = pack(slots(statements))
    for sample, ids, mask in zip(samples, input_ids, attention_mask, strict=True):
        encoding = tokenizer(sample.text, return_offsets_mapping=True)
        assert encoding["input_ids"] == ids[mask == 1].tolist()
        assert len(encoding["input_ids"]) <= CONTEXT
        for phrase in sample.phrases:
            starts, ends = zip(*encoding["offset_mapping"][1:-1], strict=True)
            assert phrase.span[0] in starts
            assert phrase.span[1] in ends


def test_the_tokenizer_knows_its_mask_word_and_says_what_it_does_not_know(tokenizer):
    assert tokenizer("a [MASK] zebra.")["input_ids"][2:5] == [MASK, VOCABULARY.index("[UNK]"), VOCABULARY.index(".")]
    assert make_tokenizer()("A Red Star")["input_ids"] == tokenizer("a red star")["input_ids"]


def test_the_image_processor_does_what_training_did():
    processor = CLIPImageProcessor.from_pretrained(FOLDER)
    sample = Scenes().samples("captions", 1)[0]
    values = processor(sample.load_image(), return_tensors="pt")["pixel_values"]
    assert torch.allclose(values[0], normalise(torch.from_numpy(np.array(sample.load_image()))[None])[0], atol=1e-5)


def test_embeddings_are_those_of_the_library(model):
    pixel_values = normalise(torch.from_numpy(Scenes.draw(np.arange(3)).pixels))
    with torch.inference_mode():
        pooled = model.visual_projection(model.vision_model(pixel_values=pixel_values).pooler_output)
        expected = torch.nn.functional.normalize(pooled, dim=-1)
        assert torch.allclose(embed_images(model, pixel_values), expected, atol=1e-5)
        every = torch.ones(3, N_PATCHES, dtype=torch.bool)
        assert torch.allclose(embed_images(model, pixel_values, every), expected, atol=1e-5)


@pytest.mark.parametrize("data", [Scenes(), Phantoms()], ids=["scenes", "phantoms"])
def test_true_captions_are_preferred_and_deleting_the_object_matters(model, data):
    embedder = Embedder(model)
    kinds, _ = caption_preferences(data, embedder, 60)
    assert np.mean([kinds[name]["rate"] for name in data.attribute_names[:3]]) > 0.8
    deleted, dropped, similarity = deletion(data, embedder, 60)
    assert deleted["rate"] > 0.88
    assert dropped["rate"] > 0.88
    assert similarity["whole"] > similarity["object_deleted"] + 0.05


def test_the_committed_gates_hold_and_are_those_of_a_finished_training():
    gates = json.loads((FOLDER / "gates.json").read_text())
    training = json.loads((FOLDER / "training.json").read_text())
    assert training["finished"]
    assert gates["pairs"] == 1000
    for data in (Scenes(), Phantoms()):
        gate = gates[data.name]
        assert gate["version"] == data.version == training["versions"][data.name]
        assert gate["passed"]
        rests_on = {name for name, gated in zip(data.attribute_names, data.gated, strict=True) if gated}
        assert rests_on == set(gate["gated"])
        assert min(gate["kinds"][name]["rate"] for name in rests_on) >= 0.75


def test_a_rate_comes_with_its_wilson_interval():
    rate = rate_of(np.array([True] * 9 + [False]))
    assert (rate["rate"], rate["low"], rate["high"]) == pytest.approx((0.9, 0.5958, 0.9821), abs=1e-4)


def test_the_patch_filters_start_as_an_orthonormal_transform():
    basis = cosine_basis(192).reshape(192, -1)
    assert torch.allclose(basis @ basis.T, torch.eye(192), atol=2e-3)


def test_removed_patches_count_against_the_things_on_them():
    rendered = Scenes.draw(np.arange(20))
    areas = patch_areas(rendered.masks)
    assert (areas.sum(2) == rendered.masks.sum((2, 3))).all()
    keep = keep_patches(areas, np.random.default_rng(0))
    share = seen_share(areas, keep)
    assert share.min() >= 0
    assert share.max() <= 1
    grid = keep[3].reshape(7, 7).repeat(16, 0).repeat(16, 1)
    assert share[3, 0] == pytest.approx((rendered.masks[3, 0] & grid).sum() / rendered.masks[3, 0].sum())
    zeroed = zero_patches(torch.ones(20, 3, 112, 112), torch.from_numpy(keep))
    assert np.array_equal(zeroed[3, 0].numpy() > 0, grid)


def test_contrast_ignores_pairs_of_unknown_truth():
    logits = torch.tensor([[2.0, 1.0, 9.0]])
    with_unknown = contrast(logits, torch.tensor([[1, 0, -1]]))
    assert with_unknown == pytest.approx(float(torch.nn.functional.softplus(torch.tensor(-1.0))))


def test_edit_contrast_compares_a_caption_with_its_own_edits():
    logits = torch.tensor([[3.0, 0.0, 1.0, 0.0], [0.0, 3.0, 0.0, 5.0]])
    labels = torch.tensor([[1, 0, 0, 0], [0, 1, 0, -1]])
    assert edit_contrast(logits, labels, 1) == pytest.approx(float(torch.nn.functional.softplus(torch.tensor(-2.0))))


def test_a_batch_of_every_stage_can_be_learnt_from():
    settings = Settings(minutes=1, images=None, processes=1, n_scenes=6, n_films=4)
    model = initial_model()
    for progress in (0.0, 0.1, 0.2, 0.9):
        recipe = recipe_at(progress, settings)
        batch = make_batch(recipe, 0, 0, np.random.default_rng(0))
        assert (batch.phrases.labels == 1).any(1).mean() > 0.5 or recipe.masking
        loss, parts = batch_loss(model, batch, settings)
        loss.backward()
        assert all(np.isfinite(value) for value in parts.values())
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_batch_depends_on_its_place_alone():
    recipe = Recipe(n_scenes=4, n_films=3)
    first, second = (make_batch(recipe, 40, 30, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.captions.labels, second.captions.labels)
