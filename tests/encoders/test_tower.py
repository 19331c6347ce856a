from dataclasses import replace

import pytest
import torch

from benchmark.encoders import Site, wrap_encoder
from benchmark.encoders.tower import Part
from benchmark.errors import BenchmarkError, InvalidInput, UnsupportedEncoder
from tests.encoders.small_encoders import clip_ids, hf_clip, hf_siglip, open_clip_model, pixels, siglip_ids

CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def state_of(encoder, side):
    if side == "image":
        return encoder.image_state(pixels(encoder.frame_size))
    return encoder.text_state(clip_ids() if encoder.text.causal else siglip_ids())


def encoders():
    return [wrap_encoder(model) for model in (hf_clip(), hf_siglip(), open_clip_model("norm after mean"))]


@pytest.mark.parametrize("side", ["image", "text"])
@torch.no_grad()
def test_running_in_two_parts_is_running_at_once(side):
    for encoder in encoders():
        tower = getattr(encoder, side)
        state = state_of(encoder, side)
        whole = tower.run(state)
        parts = tower.run(tower.run(state, stop=1), start=1)
        torch.testing.assert_close(parts.hidden, whole.hidden, **CLOSE)
        torch.testing.assert_close(tower.encode(state), tower.finish(whole), **CLOSE)
        assert torch.equal(tower.run(state, 1, 1).hidden, state.hidden)


@pytest.mark.parametrize("side", ["image", "text"])
@torch.no_grad()
def test_an_explicit_step_equals_the_fused_block(side):
    for encoder in encoders():
        tower = getattr(encoder, side)
        state = state_of(encoder, side)
        step = tower.step(state, 0)
        torch.testing.assert_close(step.output, tower.run(state, stop=1).hidden, **CLOSE)
        torch.testing.assert_close(step.attention.sum(-1), torch.ones_like(step.attention[..., 0]))
        assert torch.equal(step.input, state.hidden)


@torch.no_grad()
def test_the_last_block_of_the_pooled_token_alone_is_the_whole_last_block_with_masks_too():
    for model, ids in ((hf_clip(), clip_ids()), (hf_siglip(), siglip_ids()), (open_clip_model("end of text"), clip_ids())):
        encoder = wrap_encoder(model)
        keep = torch.rand(ids.shape, generator=torch.Generator().manual_seed(2)) < 0.7
        keep[:, 0] = keep[:, -1] = True
        state = encoder.text_state(ids, keep)
        torch.testing.assert_close(encoder.text.encode(state), encoder.text.finish(encoder.text.run(state)), **CLOSE)
        one_mask = replace(encoder.text_state(ids[:1].expand(3, -1)), keep=keep[:1])
        torch.testing.assert_close(
            encoder.text.encode(one_mask)[2], encoder.text.encode(encoder.text_state(ids[:1], keep[:1]))[0], **CLOSE
        )


@torch.no_grad()
def test_one_wide_head_scales_by_the_whole_width():
    encoder = wrap_encoder(hf_clip())
    step = encoder.image.step(state_of(encoder, "image"), 2, heads=1)
    by_hand = (step.query @ step.key.transpose(1, 2) / 32**0.5).softmax(-1)
    torch.testing.assert_close(step.attention[:, 0], by_hand)
    torch.testing.assert_close(step.heads, by_hand @ step.value)
    with pytest.raises(InvalidInput, match="cannot be split into 5 heads"):
        encoder.image.step(state_of(encoder, "image"), 2, heads=5)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_captured_site_is_in_the_graph_even_of_frozen_weights(frozen):
    encoder = wrap_encoder(hf_clip())
    for parameter in encoder.model.parameters():
        parameter.requires_grad_(not frozen)
    sites = [Site("image", 1, part) for part in Part.__args__]
    try:
        with encoder.trace(*sites) as captured:
            target = encoder.embed_images(pixels(32))[:, 0].sum()
        assert set(captured) == set(sites)
        gradients = torch.autograd.grad(target, [captured[site] for site in sites], allow_unused=True)
    finally:
        encoder.model.requires_grad_(True)
    attention = captured[Site("image", 1, "attention")]
    assert attention.shape == (3, 4, 17, 17)
    assert all(gradient is not None and float(gradient.abs().max()) > 0 for gradient in gradients)


def test_the_pooling_head_has_sites_too():
    encoder = wrap_encoder(hf_siglip())
    sites = [Site("image", "pool", part) for part in Part.__args__]
    with encoder.trace(*sites) as captured:
        encoder.embed_images(pixels(30))
    assert set(captured) == set(sites)
    assert captured[Site("image", "pool", "attention")].shape == (3, 4, 1, 9)


@torch.no_grad()
def test_a_change_replaces_what_follows():
    encoder = wrap_encoder(hf_clip())
    images = pixels(32)
    plain = encoder.embed_images(images)
    site = Site("image", 2, "attention")
    with encoder.trace(change={site: lambda attention: attention}):
        torch.testing.assert_close(encoder.embed_images(images), plain, **CLOSE)
    with encoder.trace(site, change={site: lambda attention: torch.full_like(attention, 1 / 17)}) as captured:
        changed = encoder.embed_images(images)
    assert (captured[site] == 1 / 17).all()
    assert (changed - plain).abs().max() > 1e-3
    by_hand = encoder.image.step(encoder.image.run(encoder.image_state(images), stop=2), 2)
    attended = encoder.image.blocks[2].out(by_hand.value.mean(1, keepdim=True).expand(-1, 17, -1))
    last = encoder.image.blocks[2].join(by_hand.input, attended)
    finished = encoder.image.finish(encoder.image_state(images).at(last))
    torch.testing.assert_close(changed, torch.nn.functional.normalize(finished, dim=-1), **CLOSE)


def test_nothing_is_left_behind_after_an_exception():
    encoder = wrap_encoder(hf_clip())
    with pytest.raises(RuntimeError, match="inside"), encoder.trace(Site("image", 0, "output"), Site("text", 0, "output")):
        raise RuntimeError("inside")
    assert not encoder.image.traces
    assert not encoder.text.traces
    with pytest.raises(InvalidInput), encoder.trace(Site("image", 0, "output"), Site("text", 9, "output")):
        pass
    assert not encoder.image.traces


@pytest.mark.parametrize(
    ("site", "error", "message"),
    [
        (Site("image", 3, "output"), InvalidInput, "blocks 0 to 2"),
        (Site("image", -1, "output"), InvalidInput, "blocks 0 to 2"),
        (Site("image", "last", "output"), InvalidInput, "blocks 0 to 2"),  # type: ignore[arg-type]
        (Site("image", 0, "weights"), InvalidInput, "parts are"),  # type: ignore[arg-type]
        (Site("audio", 0, "output"), InvalidInput, "names no place"),  # type: ignore[arg-type]
        (Site("image", "pool", "output"), UnsupportedEncoder, "pools by class_token"),
    ],
)
def test_an_unknown_site_is_refused(site, error, message):
    encoder = wrap_encoder(hf_clip())
    with pytest.raises(error, match=message), encoder.trace(site):
        pass


def test_blocks_that_do_not_exist_cannot_be_run():
    tower = wrap_encoder(hf_clip()).image
    state = state_of(wrap_encoder(hf_clip()), "image")
    with pytest.raises(InvalidInput, match="cannot run 2 to 3"):
        tower.run(state, 2, 4)
    with pytest.raises(InvalidInput, match="no block 3"):
        tower.step(state, 3)
    with pytest.raises(UnsupportedEncoder, match="no attention pool"):
        tower.pool_step(state)


def test_costs_count_every_block_once_forward_and_backward():
    encoder = wrap_encoder(hf_clip())
    images, ids = pixels(32), clip_ids()
    encoder.embed_images(images)
    assert encoder.costs.image_forwards == pytest.approx(3)
    assert encoder.costs.text_forwards == encoder.costs.backwards == 0
    before = encoder.costs.copy()
    encoder.embed_texts(ids)[:2].sum().backward()
    spent = encoder.costs - before
    assert (spent.image_forwards, spent.text_forwards, spent.backwards) == pytest.approx((0, 3, 3))
    encoder.model.zero_grad()

    before = encoder.costs.copy()
    state = encoder.image.run(encoder.image_state(images), stop=2)
    state = state.at(state.hidden.detach())
    step = encoder.image.step(state, 2)
    (gradient,) = torch.autograd.grad(encoder.image.finish(state.at(step.output)).sum(), step.heads)
    assert gradient.shape == step.heads.shape
    spent = encoder.costs - before
    assert (spent.image_forwards, spent.backwards) == pytest.approx((3, 1))  # backward through one block of three


def test_a_tower_described_wrongly_fails_verification():
    encoder = wrap_encoder(hf_clip())
    images, ids = pixels(32, 1), clip_ids((5,))
    encoder.verify(images, ids)
    right = encoder._image
    for wrong in (
        replace(right, norm=torch.nn.Identity()),
        replace(right, blocks=right.blocks[:-1]),
        replace(right, blocks=(*right.blocks[:-1], replace(right.blocks[-1], heads=8))),
        replace(right, pooling="mean"),
    ):
        encoder._image = wrong
        with pytest.raises(BenchmarkError, match="the image tower of custom differs from the library's own forward pass by"):
            encoder.verify(images, ids)
    encoder._image = right
    encoder._text = replace(encoder._text, causal=False)
    with pytest.raises(BenchmarkError, match="the text tower of custom differs"):
        encoder.verify(images, ids)


def test_verification_refuses_embeddings_that_are_not_numbers():
    encoder = wrap_encoder(hf_clip())
    encoder._image = replace(encoder._image, project=lambda pooled: encoder.model.visual_projection(pooled) * float("nan"))
    with pytest.raises(BenchmarkError, match="differs"):
        encoder.verify(pixels(32, 1), clip_ids((5,)))


@torch.no_grad()
def test_tokens_in_the_shared_space_are_what_pooling_would_give():
    clip, siglip = wrap_encoder(hf_clip()), wrap_encoder(hf_siglip())
    state = clip.image.run(clip.image_state(pixels(32)))
    torch.testing.assert_close(clip.image.tokens(state)[:, 0], clip.image.finish(state), **CLOSE)
    state = siglip.image.run(siglip.image_state(pixels(30)))
    alone = replace(state, keep=torch.arange(9)[None] == 4)
    torch.testing.assert_close(siglip.image.tokens(state)[:, 4], siglip.image.finish(alone), **CLOSE)
