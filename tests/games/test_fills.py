from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import lil_array
from scipy.sparse.linalg import spsolve

from benchmark.encoders import wrap_encoder
from benchmark.errors import InvalidInput
from benchmark.games import fills
from benchmark.games.removal import IMAGE_REMOVALS
from tests.encoders.small_encoders import clip_ids, hf_clip, pixels
from tests.small_encoders import FAMILIES, MEAN, STD, huggingface_clip_encoder, picture

PAINTED = ("blur", "black", "impute")


def drawn(n_players, n=9, seed=3):
    kept = torch.rand(n, n_players, generator=torch.Generator().manual_seed(seed)) < 0.5
    kept[0], kept[1] = True, False
    return kept


def painted(name, encoder, pair, kept):
    """The whole image that removed patches are taken from, one per coalition."""
    if name == "blur":
        return fills.blurred(pair.pixel_values).expand(len(kept), -1, -1, -1)
    if name == "black":
        return fills.black(encoder, pair).expand(len(kept), -1, -1, -1)
    return fills.imputed(pair.pixel_values, kept.view(-1, *encoder.patch_grid))


def solved(cells, known):
    """The same linear system, solved directly: one row per unknown cell."""
    rows, columns = cells.shape
    system, right = lil_array((rows * columns, rows * columns)), np.zeros(rows * columns)
    for r in range(rows):
        for c in range(columns):
            here = r * columns + c
            if known[r, c]:
                system[here, here], right[here] = 1.0, cells[r, c]
                continue
            for dr in (-1, 0, 1):
                for dc in (-1, 0, 1):
                    if (dr or dc) and 0 <= r + dr < rows and 0 <= c + dc < columns:
                        weight = 1 / 12 if dr and dc else 1 / 6
                        system[here, here] += weight
                        system[here, (r + dr) * columns + c + dc] -= weight
    return spsolve(system.tocsc(), right).reshape(rows, columns)


# Images


def test_the_blur_is_a_cut_off_gaussian_with_a_continued_edge():
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = image[0].double().numpy()
    for axis in (1, 2):
        expected = gaussian_filter1d(expected, 5.0, axis=axis, mode="nearest", radius=5)
    np.testing.assert_allclose(fills.blurred(image)[0].numpy(), expected, atol=1e-5)


def test_the_blur_is_as_wide_relative_to_a_larger_image():
    small, large = torch.zeros(1, 3, 224, 224), torch.zeros(1, 3, 448, 448)
    small[..., 100, 100], large[..., 200, 200] = 1.0, 1.0
    assert (fills.blurred(small)[0, 0] > 0).sum() == 11**2
    assert (fills.blurred(large)[0, 0] > 0).sum() == 21**2


def test_a_constant_image_stays_as_it_is_when_blurred():
    torch.testing.assert_close(fills.blurred(torch.full((1, 3, 32, 32), 0.7)), torch.full((1, 3, 32, 32), 0.7))


def test_black_is_zero_before_normalisation():
    encoder = huggingface_clip_encoder()
    found = fills.black(encoder, encoder.pair(picture(), "a red star"))
    expected = -torch.tensor(MEAN) / torch.tensor(STD)
    torch.testing.assert_close(found, expected[None, :, None, None].expand(found.shape))


def test_black_needs_an_image_processor():
    encoder = wrap_encoder(hf_clip())
    pair = encoder.pair_from_tensors(pixels(32, 1), clip_ids((5,)))
    with pytest.raises(InvalidInput, match="processor"):
        IMAGE_REMOVALS["black"](encoder, pair)


# Imputation


def test_imputed_cells_solve_the_linear_system():
    rng = np.random.default_rng(0)
    cells, known = rng.standard_normal((2, 16, 16)), np.zeros((16, 16))
    known[:4, 4:8] = known[12:, 12:] = 1
    found = fills.harmonic(torch.tensor(cells)[None].float(), torch.tensor(known)[None, None].float())
    for channel in range(2):
        np.testing.assert_allclose(found[0, channel].numpy(), solved(cells[channel], known), atol=2e-3)


def test_one_corner_of_a_large_grid_is_solved_well_within_the_noise():
    rng = np.random.default_rng(1)
    cells, known = rng.standard_normal((64, 64)), np.zeros((64, 64))
    known[:4, :4] = 1
    found = fills.harmonic(torch.tensor(cells)[None, None].float(), torch.tensor(known)[None, None].float())
    np.testing.assert_allclose(found[0, 0].numpy(), solved(cells, known), atol=fills.NOISE / 2)


def test_a_solution_does_not_depend_on_the_rest_of_the_batch():
    cells = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    known = drawn(16, 6).view(6, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3).float()
    together = fills.harmonic(cells, known)
    alone = torch.cat([fills.harmonic(cells, row[None]) for row in known])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_cells_between_two_colours_run_from_one_to_the_other():
    cells = torch.zeros(1, 1, 3, 12)
    cells[..., -1] = 1.0
    known = torch.zeros(1, 1, 3, 12)
    known[..., 0] = known[..., -1] = 1.0
    line = fills.harmonic(cells, known)[0, 0, 1].tolist()
    assert line == pytest.approx([i / 11 for i in range(12)], abs=1e-4)


def test_imputed_patches_continue_the_kept_ones_whatever_they_hid():
    image = torch.zeros(1, 3, 32, 32)
    image[..., :16] = 0.8
    kept = torch.zeros(1, 4, 4, dtype=torch.bool)
    kept[..., 0] = True
    other = image.clone()
    other[..., 8:] = -3.0
    found = fills.imputed(image, kept)
    torch.testing.assert_close(found, fills.imputed(other, kept))
    assert float(found.mean()) == pytest.approx(0.8, abs=0.002)
    assert float(found.std()) == pytest.approx(fills.NOISE, rel=0.05)


def test_with_nothing_kept_an_imputed_image_is_the_mean_colour_and_noise():
    found = fills.imputed(torch.full((1, 3, 32, 32), 2.0), torch.zeros(1, 4, 4, dtype=torch.bool))
    assert float(found.mean()) == pytest.approx(0, abs=0.002)
    assert float(found.std()) == pytest.approx(fills.NOISE, rel=0.05)


@pytest.mark.parametrize("side", [14, 7, 16, 3])
def test_any_patch_side_and_leftover_pixels_can_be_imputed(side):
    frame = 3 * side + 2
    image = torch.randn(1, 3, frame, frame, generator=torch.Generator().manual_seed(0))
    found = fills.imputed(image, drawn(9).view(9, 3, 3))
    assert found.shape == (9, 3, frame, frame)
    assert bool(torch.isfinite(found).all())
    assert not found[..., 3 * side :, :].any()


# Operators


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PAINTED)
@torch.no_grad()
def test_a_removed_patch_shows_the_painted_image(name, family):
    encoder = FAMILIES[family]()
    pair = encoder.pair(picture(), "a red star")
    kept = drawn(encoder.n_patches)
    mask = kept.view(-1, 1, *encoder.patch_grid).repeat_interleave(8, 2).repeat_interleave(8, 3)
    mixed = torch.where(mask, pair.pixel_values, painted(name, encoder, pair, kept))
    expected = encoder.embed_images(mixed)
    torch.testing.assert_close(IMAGE_REMOVALS[name](encoder, pair)(kept), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", PAINTED)
@torch.no_grad()
def test_a_tower_without_a_loop_shows_the_same(name, monkeypatch):
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    kept = drawn(encoder.n_patches)
    described = IMAGE_REMOVALS[name](encoder, pair)(kept)
    monkeypatch.setattr(encoder, "has_tower", lambda side: side != "image")
    torch.testing.assert_close(IMAGE_REMOVALS[name](encoder, pair)(kept), described, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [*PAINTED, "mask_pixels", "drop_tokens"])
@torch.no_grad()
def test_with_every_patch_kept_nothing_changes(name):
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    whole = IMAGE_REMOVALS[name](encoder, pair)(torch.ones(1, encoder.n_patches, dtype=torch.bool))
    torch.testing.assert_close(whole, encoder.embed_images(pair.pixel_values), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_operators_differ_from_one_another():
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    kept = drawn(encoder.n_patches)[2:3]
    found = [IMAGE_REMOVALS[name](encoder, pair)(kept) for name in ("mask_pixels", "drop_tokens", *PAINTED)]
    assert all(not torch.allclose(first, second, atol=1e-4) for first, second in pairwise(found))
