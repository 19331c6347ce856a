"""Choosing what to say about generated images: captions, short phrases, and captions with one thing changed.

All choices are read from a block of uniform numbers with one row per text, so that they can be tied to a sample index.
"""

import numpy as np
from jaxtyping import Float, Int

from benchmark.data.draws import choose
from benchmark.data.grammar import (
    ABSENT,
    ATTRIBUTES,
    COLOURS,
    FINDINGS,
    FIRST_FILM_SIZE,
    FIRST_FINDING,
    FIRST_SIDE,
    FIRST_ZONE,
    GRAIN,
    KIND,
    N_CLAUSES,
    N_DENIALS,
    N_SLOTS,
    PRESENT_ABOVE,
    SHAPES,
    SIZE,
    TEXTURES,
    TINT,
    Statements,
    Things,
    blank,
    first_slot,
    phrases_of,
    related,
)  # fmt: skip

DRAWS = 32  # uniform numbers that each function here reads per text
# How often a caption mentions an attribute, and how often a phrase does: scenes, then phantoms, in the order of ATTRIBUTES.
_IN_CAPTIONS = np.array([[1.0, 0.85, 0.5, 0.3], [1.0, 0.85, 0.75, 0.4]])
_IN_PHRASES = np.array([[0.8, 0.5, 0.35, 0.15], [0.85, 0.6, 0.5, 0.2]])
_MEDIUM = ATTRIBUTES[SIZE].index("medium")
EDITS = ("kind", "tint", "grain", "size", "binding", "relation", "negation")
BINDING, RELATION, NEGATION = 4, 5, 6
# Codes an edit may put in place of another: (first, count) by set and attribute.
_RANGES = np.array(
    [[[0, len(SHAPES)], [0, len(COLOURS)], [0, len(TEXTURES)], [0, 3]],
     [[FIRST_FINDING, len(FINDINGS)], [FIRST_SIDE, 2], [FIRST_ZONE, 3], [FIRST_FILM_SIZE, 2]]]
)  # fmt: skip
_ZONED = np.arange(len(SHAPES) + len(FINDINGS)) < FIRST_FINDING + 2
_SIDED = np.arange(len(SHAPES) + len(FINDINGS)) != FIRST_FINDING + 4
_SIZED = np.arange(len(SHAPES) + len(FINDINGS)) < FIRST_FINDING + 4


def _mention(attributes: np.ndarray, film: np.ndarray, draw: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Keep each attribute with its rate; nothing is ever called medium."""
    kept = draw < rates[film.astype(int)]
    kept[..., SIZE] &= attributes[..., SIZE] != _MEDIUM
    return np.where(kept, attributes, ABSENT)


def _order(things: Things, draw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Things in random order, those worth naming first, and how many those are."""
    namable = (things.attributes[..., KIND] != ABSENT) & (things.visible > PRESENT_ABOVE)
    return np.argsort(draw + ~namable, axis=1), namable.sum(1)


def write_captions(things: Things, draw: Float[np.ndarray, "image draw"]) -> tuple[Statements, Int[np.ndarray, "image clause"]]:
    """One true caption per image, and which thing each clause is about."""
    n_images = len(draw)
    film = things.film
    order, namable = _order(things, draw[:, :4])
    about = order[:, :N_CLAUSES]
    statements = blank(n_images, film=False)
    statements.film[:] = film
    statements.n_clauses[:] = np.minimum(1 + choose(draw[:, 4], N_CLAUSES), namable)
    own = np.take_along_axis(things.attributes, about[..., None], 1)
    for clause in range(N_CLAUSES):
        said = _mention(own[:, clause], film, draw[:, 8 + 4 * clause : 12 + 4 * clause], _IN_CAPTIONS)
        statements.attributes[:, clause] = np.where((statements.n_clauses > clause)[:, None], said, ABSENT)
    held = related(things.centres)[:, 1:]
    rows = np.arange(n_images)
    for join in range(N_CLAUSES - 1):
        relation = 1 + held[rows, :, about[:, join], about[:, join + 1]].argmax(1)
        told = ~film & (draw[:, 20 + join] < 0.5) & (statements.n_clauses > join + 1)
        statements.relations[:, join] = np.where(told, relation, 0)
    n_denials = np.where(film, choose(draw[:, 22], N_DENIALS + 1), 0)
    n_denials = np.where(film & (namable == 0), np.maximum(n_denials, 1), n_denials)
    statements.denied[:] = _absent_findings(things, draw[:, 23])[:, :N_DENIALS]
    statements.denied[np.arange(N_DENIALS)[None] >= n_denials[:, None]] = ABSENT
    return statements, about


def _absent_findings(things: Things, draw: np.ndarray) -> np.ndarray:
    """Kinds of finding in a random order, those that a film lacks first."""
    kinds = FIRST_FINDING + np.arange(len(FINDINGS))
    there = (things.attributes[:, :, KIND, None] == kinds).any(1)
    scramble = (draw[:, None] * (7919 * (np.arange(len(FINDINGS)) + 1))) % 1.0
    return kinds[np.argsort(scramble + there, axis=1)]


def write_phrases(things: Things, draw: Float[np.ndarray, "image draw"]) -> tuple[Statements, Int[np.ndarray, " image"]]:
    """One short phrase per image, true of the thing returned beside it; says nothing where there is nothing."""
    order, namable = _order(things, draw[:, :4])
    about = order[:, 0]
    own = things.attributes[np.arange(len(draw)), about]
    said = _mention(own, things.film, draw[:, 4:8], _IN_PHRASES)
    silent = (said == ABSENT).all(1)
    said[silent, KIND] = own[silent, KIND]
    said[namable == 0] = ABSENT
    statements = phrases_of(said, film=False)
    statements.film[:] = things.film
    return statements, about


def edit(
    statements: Statements, things: Things, kinds: Int[np.ndarray, " text"], draw: Float[np.ndarray, "text draw"]
) -> tuple[Statements, np.ndarray]:
    """Change one thing in each statement, row ``i`` being about image ``i``; returns the copies and which were changed.

    ``kinds`` are positions in ``EDITS``. The first four put in a value that no thing in the image has, where there is one;
    ``binding`` takes the value of another thing in the image; ``relation`` turns a relation round; ``negation`` denies a
    kind that is there. Whether the result is false is for ``truth`` to say.
    """
    edited = statements.take(np.arange(len(statements)))
    rows = np.arange(len(statements))
    plain = np.where(kinds == BINDING, choose(draw[:, 0], 3), np.minimum(kinds, SIZE))
    said = np.take_along_axis(edited.attributes, plain[:, None, None], 2)[..., 0] != ABSENT  # (text, clause)
    clause = np.argmax(said * (0.01 + draw[:, 1 : 1 + N_CLAUSES]), axis=1)
    changed = said.any(1) & (kinds <= BINDING)
    old = edited.attributes[rows, clause, plain]
    there = np.take_along_axis(things.attributes, plain[:, None, None], 2)[..., 0]  # (text, thing)
    first, count = _RANGES[statements.film.astype(int), plain].T
    codes = np.arange(12)
    value = first[:, None] + codes
    jitter = draw[:, 4:16]
    preference = jitter + 4.0 * (codes >= count[:, None]) + 4.0 * (value == old[:, None])
    held = (there[:, :, None] == value[:, None, :]).any(1)
    preference += np.where((kinds == BINDING)[:, None], ~held, held) * 1.0
    preference += (plain == SIZE)[:, None] * (value == _MEDIUM) * 4.0
    new = value[rows, preference.argmin(1)]
    edited.attributes[rows[changed], clause[changed], plain[changed]] = new[changed]
    _agree(edited)
    turn = (kinds == RELATION) & (statements.relations > 0).any(1)
    join = np.argmax((statements.relations > 0) * (0.01 + draw[:, 16:18]), axis=1)
    opposite = np.array([0, 2, 1, 4, 3])
    edited.relations[rows[turn], join[turn]] = opposite[statements.relations[rows, join]][turn]
    deny = (kinds == NEGATION) & (statements.denied[:, 0] != ABSENT) & (things.attributes[:, 0, KIND] != ABSENT)
    edited.denied[deny, 0] = things.attributes[deny, 0, KIND]
    return edited, changed | turn | deny


def _agree(statements: Statements) -> None:
    """Take away attributes that a finding cannot have, in place."""
    attributes = statements.attributes
    kind = attributes[..., KIND]
    film = statements.film[:, None] & (kind != ABSENT)
    attributes[..., GRAIN][film & ~_ZONED[kind]] = ABSENT
    attributes[..., TINT][film & ~_SIDED[kind]] = ABSENT
    attributes[..., SIZE][film & ~_SIZED[kind]] = ABSENT


def remove_words(statements: Statements, removed: np.ndarray) -> Statements:
    """What is left of each statement's meaning when the words in these slots (text, slot) are taken away."""
    left = statements.take(np.arange(len(statements)))
    for clause in range(N_CLAUSES):
        at = first_slot(clause)
        for slot, attribute in enumerate((SIZE, TINT, GRAIN, KIND)):
            left.attributes[removed[:, at + slot], clause, attribute] = ABSENT
        if clause > 0:
            left.relations[removed[:, at - 3] | removed[:, at - 2], clause - 1] = 0
    unnamed = (left.attributes == ABSENT).all(2)
    left.relations[(unnamed[:, :-1] | unnamed[:, 1:])] = 0
    for denial in range(N_DENIALS):
        at = N_SLOTS - 1 - 3 * (N_DENIALS - denial)
        left.denied[removed[:, at + 1] | removed[:, at + 2], denial] = ABSENT
    return left
