"""Training batches: images with patches removed, texts with words removed, and which text is true of which image."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int, UInt8

from benchmark.data import phantoms, scenes
from benchmark.data.captions import DRAWS, EDITS, edit, write_captions, write_phrases
from benchmark.data.grammar import Statements, Things, pack, slots, truth
from benchmark.embedded.removal import N_PATCHES, hide_words, keep_patches, keep_scores, patch_areas, seen_share

HIDDEN_TEXTS = 0.35  # share of texts that lose words
ZEROED, DROPPED = 0.40, 0.2  # shares of images whose removed patches are zeroed, or left out of the sequence
# Kinds of edit by set, in the order of EDITS.
_EDIT_RATES = np.array([[0.36, 0.14, 0.14, 0.06, 0.20, 0.10, 0.0], [0.24, 0.20, 0.20, 0.08, 0.12, 0.0, 0.16]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Token numbers, attention and the truth of each text about each image (1, 0, or -1 for unknown)."""

    input_ids: Int[np.ndarray, "text token"]
    attention_mask: Int[np.ndarray, "text token"]
    labels: Int[np.ndarray, "image text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Images and two sorts of texts; the last ``n_dropped`` images enter the encoder as their kept patches only."""

    pixels: UInt8[np.ndarray, "image row column 3"]
    keep: Bool[np.ndarray, "image patch"]
    n_dropped: int
    phrases: Texts
    captions: Texts | None  # one per image, then the edits of each, in the same order, ``n_edits`` times
    n_edits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a batch is made of at one stage of training."""

    n_scenes: int
    n_films: int
    fewest: int = 2  # objects in a scene
    most: int = 4
    n_phrases: int = 2  # per image
    n_edits: int = 2  # per caption; 0 leaves captions out
    masking: bool = True


def _join(first: Things, second: Things) -> Things:
    return Things(
        attributes=np.concatenate([first.attributes, second.attributes]),
        centres=np.concatenate([first.centres, second.centres]),
        visible=np.concatenate([first.visible, second.visible]),
        film=np.concatenate([first.film, second.film]),
    )


def _texts(statements: Statements, things: Things, masking: bool, groups: np.ndarray, rng: np.random.Generator) -> Texts:
    table, seen = slots(statements), None
    if masking:
        table, seen, statements = hide_words(table, statements, HIDDEN_TEXTS, rng, groups)
    input_ids, attention_mask = pack(table, seen)
    return Texts(input_ids=input_ids, attention_mask=attention_mask, labels=truth(things, statements))


def _distinct(statements: Statements) -> Statements:
    """Each phrase once."""
    codes = np.concatenate([statements.attributes[:, 0], statements.film[:, None]], 1)
    return statements.take(np.sort(np.unique(codes, axis=0, return_index=True)[1]))


def make_batch(recipe: Recipe, first_scene: int, first_film: int, rng: np.random.Generator) -> Batch:
    """Draw the next images of both sets and write texts about them."""
    scene = scenes.render(scenes.lay_out(first_scene + np.arange(recipe.n_scenes), recipe.fewest, recipe.most))
    film = phantoms.render(first_film + np.arange(recipe.n_films))
    n_images = recipe.n_scenes + recipe.n_films
    order = rng.permutation(n_images)
    things = _join(scene.things, film.things)
    things = Things(**{name: getattr(things, name)[order] for name in ("attributes", "centres", "visible", "film")})
    areas = patch_areas(np.concatenate([scene.masks, film.masks])[order])
    keep, n_dropped = np.ones((n_images, N_PATCHES), dtype=bool), 0
    if recipe.masking:
        keep, n_dropped = _remove(areas, rng)
    seen = replace_visible(things, seen_share(areas, keep))

    spoken = [write_phrases(things, rng.random((n_images, DRAWS)))[0] for _ in range(recipe.n_phrases)]
    phrases = _distinct(Statements.concatenate(spoken))
    captions = None
    if recipe.n_edits:
        told, _ = write_captions(things, rng.random((n_images, DRAWS)))
        variants = [told]
        for _ in range(recipe.n_edits):
            rates = np.cumsum(_EDIT_RATES[things.film.astype(int)], axis=1)
            kinds = np.minimum((rng.random((n_images, 1)) > rates).sum(1), len(EDITS) - 1)
            variants.append(edit(told, things, kinds, rng.random((n_images, DRAWS)))[0])
        groups = np.tile(np.arange(n_images), 1 + recipe.n_edits)
        captions = _texts(Statements.concatenate(variants), seen, recipe.masking, groups, rng)
    return Batch(
        pixels=np.concatenate([scene.pixels, film.pixels])[order],
        keep=keep,
        n_dropped=n_dropped,
        phrases=_texts(phrases, seen, recipe.masking, np.arange(len(phrases)), rng),
        captions=captions,
        n_edits=recipe.n_edits,
    )


def replace_visible(things: Things, share: np.ndarray) -> Things:
    """The same things as far as they can still be seen."""
    return replace(things, visible=things.visible * share)


def _remove(areas: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Which patches stay, image by image; the last images all keep the same number, so that they can be stacked."""
    n_images = len(areas)
    keep = keep_patches(areas, rng)
    keep[rng.random(n_images) >= ZEROED / (1 - DROPPED)] = True
    n_dropped = int(n_images * DROPPED)
    n_kept = int(rng.integers(6, 44))
    ranks = np.argsort(np.argsort(-keep_scores(areas[-n_dropped:], rng), axis=1), axis=1)
    keep[-n_dropped:] = ranks < n_kept
    return keep, n_dropped
