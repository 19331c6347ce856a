"""exCLIP gives the recorded matrices, and what it leaves out of the matrix is reported."""

import numpy as np
import pytest
import torch

from benchmark.encoders import wrap_encoder
from benchmark.encoders.base import DualEncoder, Tokens
from benchmark.encoders.tower import Block, Tower
from benchmark.errors import InvalidInput, UnsupportedEncoder
from benchmark.explainers.exclip import ExClip
from tests.golden_models import golden_inputs, huggingface_clip, open_clip_clip

LIBRARIES = [huggingface_clip, open_clip_clip]
LAYERS = [(8, 7, 10), (8, 7, 50), (6, 5, 10)]
TERMS = ("pair", "reference_image", "reference_text", "references")


@pytest.fixture(scope="module")
def clip():
    return wrap_encoder(huggingface_clip(1))


@pytest.fixture(scope="module")
def clip_pair(clip):
    return clip.pair_from_tensors(*golden_inputs(1))


@pytest.fixture(scope="module")
def siglip():
    from transformers import SiglipConfig, SiglipModel

    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    text = {"vocab_size": 30, "max_position_embeddings": 10, "pad_token_id": 1, "eos_token_id": 1, "bos_token_id": 0}
    config = SiglipConfig(
        text_config=tower | text | {"projection_size": 32}, vision_config=tower | {"image_size": 32, "patch_size": 8}
    )
    model = SiglipModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return wrap_encoder(model)


def siglip_pair(siglip):
    ids = torch.tensor([[7, 8, 9, 10, 1, 1, 1, 1, 1, 1]])
    return siglip.pair_from_tensors(torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)), ids)


@pytest.mark.parametrize(("text_layer", "image_layer", "steps"), LAYERS)
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_recorded_matrices_and_reference_terms_are_reproduced(golden, seed, library, text_layer, image_layer, steps):
    recorded, key = golden(f"clip_small_seed{seed}"), f"exclip_text{text_layer}_image{image_layer}_steps{steps}"
    encoder = wrap_encoder(library(seed))
    explainer = ExClip(text_layer=text_layer, image_layer=image_layer, steps=steps)
    found = explainer.attribute(encoder, encoder.pair_from_tensors(*golden_inputs(seed)))
    wanted = recorded[key]
    tolerance = 1e-4 * np.abs(wanted).max() + 1e-6  # of the recorded outputs' README
    np.testing.assert_allclose(found.matrix[:, 1:].reshape(wanted.shape), wanted, rtol=0, atol=tolerance)
    np.testing.assert_allclose([found.terms[name] for name in TERMS], recorded[f"{key}_terms"], rtol=0, atol=1e-5)


def test_layers_count_from_the_end_as_well(clip, clip_pair):
    last = ExClip(steps=2).attribute(clip, clip_pair).matrix
    np.testing.assert_array_equal(last, ExClip(text_layer=8, image_layer=7, steps=2).attribute(clip, clip_pair).matrix)


def test_the_cross_scores_are_the_content_rows_and_patch_columns(clip, clip_pair):
    explainer = ExClip(steps=2)
    explanation, full = explainer.explain(clip, clip_pair, np.random.default_rng(0)), explainer.attribute(clip, clip_pair)
    explanation.check(clip.patch_grid, clip_pair.n_tokens)
    np.testing.assert_array_equal(explanation.cross, full.matrix[1:-1, 1:].reshape(7, 6, 6).transpose(1, 2, 0))
    np.testing.assert_allclose(explanation.image.sum(), explanation.text.sum())
    assert explanation.similarity == pytest.approx(clip.similarity(clip_pair), abs=1e-5)


def averaged_jacobian(tower, state, origin, start, steps):
    def tail(hidden):
        return tower.finish(tower.run(state.at(hidden[None]), start))[0]

    points = [origin + k / steps * (state.hidden[0] - origin) for k in range(1, steps + 1)]
    return torch.stack([torch.autograd.functional.jacobian(tail, point) for point in points]).mean(dim=0)


@pytest.mark.parametrize(("text_layer", "image_layer"), [(8, 7), (7, 6)])
def test_the_contraction_is_the_sum_over_the_matrix_of_full_jacobians(clip, clip_pair, text_layer, image_layer):
    found = ExClip(text_layer=text_layer, image_layer=image_layer, steps=2).attribute(clip, clip_pair).matrix
    ids = clip_pair.input_ids[:, :9]
    reference = torch.zeros_like(ids)
    reference[0, 0], reference[0, 2] = 510, 511
    sides = {
        "text": (clip.text, clip.text_state(ids), clip.text_state(reference), text_layer),
        "image": (
            clip.image,
            clip.image_state(clip_pair.pixel_values),
            clip.image_state(torch.zeros_like(clip_pair.pixel_values)),
            image_layer,
        ),
    }
    jacobians, ways, norms = [], [], []
    with torch.no_grad():
        for tower, state, origin, layer in sides.values():
            norms.append(tower.encode(state).norm())
            state, origin = tower.run(state, stop=layer), tower.run(origin, stop=layer)
            with torch.enable_grad():
                jacobians.append(averaged_jacobian(tower, state, origin.hidden[0], layer, 2))
            ways.append((state.hidden - origin.hidden)[0])
    full = torch.einsum("sa,esa,eqc,qc->sq", ways[0], jacobians[0], jacobians[1], ways[1]) / (norms[0] * norms[1])
    np.testing.assert_allclose(found, full.numpy(), rtol=0, atol=1e-5 * float(full.abs().max()))


@pytest.mark.parametrize("side", ["image", "text"])
@torch.no_grad()
def test_forward_mode_reverse_mode_and_the_read_token_alone_agree(clip, clip_pair, side):
    from benchmark.explainers.exclip import _path

    tower, state = clip.image, clip.image_state(clip_pair.pixel_values)
    if side == "text":
        tower, state = clip.text, clip.text_state(clip_pair.input_ids)
    origin = state.at(torch.randn(state.hidden.shape, generator=torch.Generator().manual_seed(0)))
    path, _ = _path(tower, -1, state, origin)
    points = path.reference + torch.tensor([0.3, 0.9])[:, None, None] * path.delta
    forward = path.forward_mode(points)
    for found in (path.reverse_mode(points, torch.eye(len(forward))), path.through_one_block(points)):
        torch.testing.assert_close(found, forward, rtol=0, atol=1e-5 * float(forward.abs().max()))


def test_the_attributions_sum_to_the_recorded_difference_with_a_gap_that_shrinks(clip, clip_pair):
    def gap(**parameters):
        return ExClip(**parameters).explain(clip, clip_pair, np.random.default_rng(0)).notes

    ten, fifty, two_hundred = (gap(steps=steps) for steps in (10, 50, 200))
    assert ten["difference"] == pytest.approx(-0.0702, abs=1e-4)  # methods.md 6.1, as are the sums
    assert [notes["difference"] + notes["gap"] for notes in (ten, fifty, two_hundred)] == pytest.approx(
        [-0.0637, -0.0689, -0.0698], abs=1e-4
    )
    assert abs(ten["gap"]) > 3 * abs(fifty["gap"]) > 9 * abs(two_hundred["gap"])
    assert abs(gap(steps=10, rule="midpoint")["gap"]) < 1e-4


def test_what_falls_on_no_token_patch_pair_is_reported(clip, clip_pair):
    explanation = ExClip(steps=4).explain(clip, clip_pair, np.random.default_rng(0))
    notes = explanation.notes
    assert notes["remainder"]["padding"] == 0
    assert explanation.cross.sum() + sum(notes["remainder"].values()) == pytest.approx(notes["difference"] + notes["gap"])


@pytest.mark.parametrize("text_layer", [-1, 6])
def test_positions_behind_the_end_of_a_causal_text_get_nothing(clip, clip_pair, monkeypatch, text_layer):
    explainer = ExClip(steps=2, text_layer=text_layer)
    trimmed = explainer.attribute(clip, clip_pair).matrix
    monkeypatch.setattr(clip, "trim", lambda ids: ids)
    whole = explainer.attribute(clip, clip_pair).matrix
    assert whole.shape[0] == 20
    assert not whole[9:].any()
    np.testing.assert_allclose(whole[:9], trimmed, rtol=0, atol=1e-5 * np.abs(trimmed).max())


@pytest.mark.parametrize("layer", [-1, 1])
def test_attention_pooling_has_no_class_token_column_and_padding_takes_its_share(siglip, layer):
    pair = siglip_pair(siglip)
    explainer = ExClip(text_layer=layer, image_layer=layer, rule="midpoint", steps=50)
    explanation, full = explainer.explain(siglip, pair, np.random.default_rng(0)), explainer.attribute(siglip, pair)
    explanation.check((4, 4), 4)
    assert full.matrix.shape == (10, 16)
    remainder = explanation.notes["remainder"]
    assert (remainder["class_token"], remainder["begin"], remainder["end"]) == (0, 0, 0)
    assert abs(remainder["padding"]) > 1e-4
    assert explanation.cross.sum() + remainder["padding"] == pytest.approx(explanation.notes["difference"], abs=1e-4)


def test_the_reference_of_a_text_without_a_read_end_is_the_end_of_the_path(siglip):
    found = ExClip(steps=1).attribute(siglip, siglip_pair(siglip))
    with torch.no_grad():
        texts = siglip.embed_texts(torch.tensor([[7, 8, 9, 10, 1, 1, 1, 1, 1, 1], [1] * 10]))
        images = siglip.embed_images(torch.cat([siglip_pair(siglip).pixel_values, torch.zeros(1, 3, 32, 32)]))
    wanted = (texts[:1] @ images.T)[0].tolist() + (texts[1:] @ images.T)[0].tolist()
    assert [found.terms[name] for name in TERMS] == pytest.approx(wanted, abs=1e-5)


class BilinearEncoder(DualEncoder):
    """Both embeddings are linear in the tokens: the mean of tokens that are scaled by a factor of their position."""

    def __init__(self):
        draw = torch.Generator().manual_seed(3)
        self.words = torch.randn(9, 12, generator=draw)
        self.gains = {"image": torch.randn(6, 1, generator=draw), "text": torch.randn(4, 1, generator=draw)}
        self.maps = {side: torch.randn(12, 5, generator=draw) for side in ("image", "text")}
        towers = {side: self.tower(side) for side in ("image", "text")}
        super().__init__("bilinear", **towers, patch_grid=(2, 3))

    def tower(self, side):
        def nothing(x):
            return torch.zeros_like(x)

        def same(x):
            return x

        block = Block(heads=2, before=same, query=nothing, key=nothing, value=same, out=same, join=lambda hidden, _: hidden)
        return Tower(
            side=side,
            blocks=(block, block),
            embed=lambda tokens, _: tokens * self.gains[side],
            norm=same,
            project=lambda x: x @ self.maps[side],
            pooling="mean",
        )

    def image_tokens(self, pixel_values):
        return torch.nn.functional.unfold(pixel_values, 2, stride=2).transpose(1, 2)

    def text_tokens(self, input_ids):
        return self.words[input_ids]

    def probe_ids(self):
        return torch.tensor([[3, 4, 0, 0]])

    def content_positions(self, input_ids):
        return tuple(range(4))

    def read_positions(self, input_ids):
        return None

    def library_image_embeddings(self, pixel_values):
        return self.image.finish(self.image_state(pixel_values))

    def library_text_embeddings(self, input_ids):
        return self.text.finish(self.text_state(input_ids))

    def tokenize(self, text):
        return Tokens(ids=[], positions=(), pieces=())

    def preprocess(self, image):
        raise NotImplementedError

    @property
    def frame_size(self):
        return 4, 6


@pytest.mark.parametrize("layer", [0, 1])
def test_a_planted_bilinear_similarity_gives_its_matrix_back(layer):
    encoder = BilinearEncoder()
    pixels, ids = torch.randn(1, 3, 4, 6, generator=torch.Generator().manual_seed(4)), torch.tensor([[5, 8, 2, 5]])
    explainer = ExClip(text_layer=layer, image_layer=layer, steps=3)
    explanation = explainer.explain(encoder, encoder.pair_from_tensors(pixels, ids), np.random.default_rng(0))
    patch = encoder.image_tokens(pixels)[0] * encoder.gains["image"] @ encoder.maps["image"] / 6
    token = (encoder.words[ids[0]] - encoder.words[0]) * encoder.gains["text"] @ encoder.maps["text"] / 4
    norms = encoder.library_image_embeddings(pixels).norm() * encoder.library_text_embeddings(ids).norm()
    np.testing.assert_allclose(explanation.cross.reshape(6, 4), (patch @ token.T / norms).numpy(), rtol=0, atol=1e-6)
    assert explanation.notes["gap"] == pytest.approx(0, abs=1e-6)


def test_passes_are_counted(clip, clip_pair):
    before = clip.costs.copy()
    ExClip(steps=10).attribute(clip, clip_pair)
    one_block = clip.costs - before
    assert 2 < one_block.image_forwards < 7  # the input, two of its tails, and ten points of one block out of eight, twice
    assert one_block.backwards == 0
    before = clip.costs.copy()
    ExClip(steps=10, text_layer=6, image_layer=5).attribute(clip, clip_pair)
    three_blocks = clip.costs - before
    assert three_blocks.backwards == pytest.approx(9 * 10 * 3 / 8)  # text positions x points x share of the image tower


def test_blocks_that_are_not_there_are_refused(clip, clip_pair):
    explainer = ExClip(image_layer=8)
    assert explainer.unsupported(clip) == "exCLIP was asked to start at image block 8; this tower has blocks 0 to 7"
    with pytest.raises(UnsupportedEncoder, match="image block 8"):
        explainer.explain(clip, clip_pair, np.random.default_rng(0))
    assert ExClip().unsupported(clip) is None


@pytest.mark.parametrize("parameters", [{"steps": 0}, {"rule": "left"}])
def test_impossible_parameters_are_refused(parameters):
    with pytest.raises(InvalidInput):
        ExClip.configure(parameters)


def test_a_shorter_caption_is_explained_too(clip, clip_pair):
    ids = clip_pair.input_ids.clone()
    ids[0, 2], ids[0, 3:] = 511, 0
    pair = clip.pair_from_tensors(clip_pair.pixel_values, ids)
    assert ExClip(steps=2).explain(clip, pair, np.random.default_rng(0)).cross.shape == (6, 6, 1)
