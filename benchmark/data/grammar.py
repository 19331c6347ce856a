"""Statements about generated images: their words, their spans, and which images they are true of.

A statement is up to three clauses, each naming a thing by up to four attributes, joined by "and" or a spatial relation,
then up to two kinds of thing that are denied. Things and statements of both generated sets share one coding, so that any
statement can be judged against any image.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Int

from benchmark.data.shapes import SHAPES

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown", "black")
TEXTURES = ("solid", "striped", "dotted", "checked")
FINDINGS = ("nodule", "opacity", "effusion", "pneumothorax", "cardiomegaly", "line")
SIDES = ("left", "right")
ZONES = ("upper", "middle", "lower")

# The four attributes of a thing, scenes first; codes of the two sets never meet, so no film holds a "large object".
ATTRIBUTES = (
    (*SHAPES, *FINDINGS),
    (*COLOURS, *SIDES),
    (*TEXTURES, *ZONES),
    ("small", "medium", "large", "small", "large"),
)
KIND, TINT, GRAIN, SIZE = range(4)  # shape or finding; colour or side; texture or zone; size
FIRST_FINDING, FIRST_SIDE, FIRST_ZONE, FIRST_FILM_SIZE = len(SHAPES), len(COLOURS), len(TEXTURES), 3
RELATIONS = ("and", "left of", "right of", "above", "below")
ABSENT = -1  # no such thing, or an attribute that is not mentioned

SPECIAL = ("[PAD]", "[UNK]", "[MASK]", "[BOS]", "[EOS]")
WORDS = (*SHAPES, *FINDINGS, *COLOURS, *SIDES, *TEXTURES, *ZONES, "small", "medium", "large",
         "a", "an", "and", "of", "above", "below", "no", "object", "finding", ".")  # fmt: skip
VOCABULARY = (*SPECIAL, *WORDS)
TOKEN = {word: number for number, word in enumerate(VOCABULARY)}
PAD, UNKNOWN, MASK, BOS, EOS = range(5)
CONTEXT = 32

N_CLAUSES, N_DENIALS = 3, 2
PRESENT_ABOVE, ABSENT_BELOW = 0.6, 0.15  # visible share of a thing that counts as there, and as gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Things:
    """What is in each image, up to four things; ``attributes`` is ``ABSENT`` where there are fewer."""

    attributes: Int[np.ndarray, "image thing 4"]
    centres: np.ndarray  # (image, thing, 2): x then y, in pixels
    visible: np.ndarray  # (image, thing): share of the thing's own pixels that can be seen, 0 to 1
    film: np.ndarray  # (image,): true for a phantom film


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """Rows of coded statements; ``ABSENT`` marks what a statement leaves out."""

    attributes: Int[np.ndarray, "text clause 4"]
    relations: Int[np.ndarray, "text join"]  # relation between a clause and the next one
    n_clauses: Int[np.ndarray, " text"]
    denied: Int[np.ndarray, "text denial"]  # kinds said not to be there
    film: np.ndarray  # (text,): written for a phantom film

    def __len__(self) -> int:
        return len(self.n_clauses)

    def take(self, rows: np.ndarray) -> "Statements":
        return Statements(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @staticmethod
    def concatenate(parts: "list[Statements]") -> "Statements":
        return Statements(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Statements)})


def blank(count: int, film: bool) -> Statements:
    """Statements that say nothing yet, to be filled in place."""
    return Statements(
        attributes=np.full((count, N_CLAUSES, 4), ABSENT, dtype=np.int64),
        relations=np.zeros((count, N_CLAUSES - 1), dtype=np.int64),
        n_clauses=np.zeros(count, dtype=np.int64),
        denied=np.full((count, N_DENIALS), ABSENT, dtype=np.int64),
        film=np.full(count, film),
    )


def phrases_of(attributes: Int[np.ndarray, "text 4"], film: bool) -> Statements:
    """One-clause statements."""
    statements = blank(len(attributes), film)
    statements.attributes[:, 0] = attributes
    statements.n_clauses[:] = 1
    return statements


# Token slots: [BOS], three clauses of (join, join, article, size, tint, grain, kind), two denials of ("." , "no", kind), [EOS].
_CLAUSE_SLOTS, _DENIAL_SLOTS = 7, 3
N_SLOTS = 2 + N_CLAUSES * _CLAUSE_SLOTS + N_DENIALS * _DENIAL_SLOTS
_EMPTY = -1
_JOINS = np.array(
    [[_EMPTY, TOKEN["and"]], [TOKEN["left"], TOKEN["of"]], [TOKEN["right"], TOKEN["of"]],
     [_EMPTY, TOKEN["above"]], [_EMPTY, TOKEN["below"]]]
)  # fmt: skip
_WORD_OF = [np.array([TOKEN[word] for word in words] + [_EMPTY]) for words in ATTRIBUTES]
_ARTICLE = np.array([TOKEN["an"] if word[0] in "aeiou" or word == "hourglass" else TOKEN["a"] for word in VOCABULARY])
_ARTICLE[TOKEN["cardiomegaly"]] = _EMPTY


def first_slot(clause: int) -> int:
    """The slot of a clause's size word; its colour or side, texture or zone, and kind follow."""
    return 1 + clause * _CLAUSE_SLOTS + 3


def slots(statements: Statements) -> Int[np.ndarray, "text slot"]:
    """Token numbers in fixed places, ``-1`` where a statement has no word."""
    table = np.full((len(statements), N_SLOTS), _EMPTY)
    table[:, 0], table[:, -1] = BOS, EOS
    film = statements.film
    for clause in range(N_CLAUSES):
        used = statements.n_clauses > clause
        at = first_slot(clause)
        named = statements.attributes[:, clause]
        if clause > 0:
            table[:, at - 3 : at - 1] = np.where(used[:, None], _JOINS[statements.relations[:, clause - 1]], _EMPTY)
        table[:, at] = _WORD_OF[SIZE][named[:, SIZE]]
        table[:, at + 1] = _WORD_OF[TINT][named[:, TINT]]
        table[:, at + 2] = _WORD_OF[GRAIN][named[:, GRAIN]]
        general = np.where(film, TOKEN["finding"], TOKEN["object"])
        table[:, at + 3] = np.where(named[:, KIND] == ABSENT, general, _WORD_OF[KIND][named[:, KIND]])
        table[~used, at : at + 4] = _EMPTY
        words = table[:, at : at + 4]
        opening = words[np.arange(len(words)), (words != _EMPTY).argmax(1)]
        table[:, at - 1] = np.where(used, _ARTICLE[opening], _EMPTY)
    for denial in range(N_DENIALS):
        at = 1 + N_CLAUSES * _CLAUSE_SLOTS + denial * _DENIAL_SLOTS
        kind = statements.denied[:, denial]
        opens = (kind == ABSENT) | ((statements.n_clauses == 0) & (denial == 0))
        table[:, at] = np.where(opens, _EMPTY, TOKEN["."])
        table[:, at + 1] = np.where(kind == ABSENT, _EMPTY, TOKEN["no"])
        table[:, at + 2] = _WORD_OF[KIND][kind]
    return table


def pack(
    table: Int[np.ndarray, "text slot"], seen: np.ndarray | None = None
) -> tuple[Int[np.ndarray, "text token"], Int[np.ndarray, "text token"]]:
    """Close the gaps of a slot table: token numbers and attention mask, padded to the longest text.

    Slots where ``seen`` is false keep their place but are not attended to.
    """
    order = np.argsort(table == _EMPTY, axis=1, kind="stable")
    length = int((table != _EMPTY).sum(1).max())
    packed = np.take_along_axis(table, order, 1)[:, :length]
    attended = packed != _EMPTY
    if seen is not None:
        attended &= np.take_along_axis(seen, order, 1)[:, :length]
    return np.where(packed == _EMPTY, PAD, packed), attended.astype(np.int64)


def write(table: Int[np.ndarray, " slot"]) -> tuple[str, dict[int, tuple[int, int]]]:
    """The text of one slot row, and the character offsets of each of its words by slot."""
    text, offsets = "", dict[int, tuple[int, int]]()
    for slot, token in enumerate(table[1:-1], start=1):
        if token == _EMPTY:
            continue
        word = VOCABULARY[token]
        text += word if not text or word == "." else f" {word}"
        offsets[slot] = (len(text) - len(word), len(text))
    return text, offsets


def clause_span(offsets: dict[int, tuple[int, int]], clause: int) -> tuple[int, int]:
    """Character offsets of a clause's noun phrase, without its article."""
    at = first_slot(clause)
    words = [offsets[slot] for slot in range(at, at + 4) if slot in offsets]
    return words[0][0], words[-1][1]


def matching(things: Int[np.ndarray, "thing 4"], said: Int[np.ndarray, " 4"]) -> np.ndarray:
    """Which of one image's things have all the attributes that are said."""
    return (things[:, KIND] != ABSENT) & ((said == ABSENT) | (things == said)).all(1)


def related(centres: np.ndarray) -> np.ndarray:
    """Whether a relation holds from one thing to another: (image, relation, thing, thing).

    A thing is left of another when its centre is, by at least as much as the two differ in height; the other relations alike.
    """
    x, y = centres[..., 0], centres[..., 1]
    right = x[:, None, :] - x[:, :, None]
    down = y[:, None, :] - y[:, :, None]
    steep = np.abs(down) > np.abs(right)
    other = np.broadcast_to(~np.eye(x.shape[1], dtype=bool), right.shape)
    held = [other, (right > 0) & ~steep, (right < 0) & ~steep, (down > 0) & steep, (down < 0) & steep]
    return np.stack(held, 1)


def _chain(matches: np.ndarray, relations: np.ndarray, statements: Statements) -> np.ndarray:
    """Whether things can be found for all clauses in turn, given which thing matches which clause."""
    reached = matches[:, :, 0]  # (image, text, thing)
    result = reached.any(-1)
    for clause in range(1, N_CLAUSES):
        links = relations[:, statements.relations[:, clause - 1]]  # (image, text, thing, thing)
        reached = (reached[..., None] & links).any(2) & matches[:, :, clause]
        result = np.where(statements.n_clauses > clause, reached.any(-1), result)
    return result


def truth(things: Things, statements: Statements) -> Int[np.ndarray, "image text"]:
    """1 where a statement is true of an image, 0 where false, -1 where too much is hidden to tell.

    Things more than ``PRESENT_ABOVE`` visible count as there, less than ``ABSENT_BELOW`` as gone. Neighbouring clauses speak of
    different things. A statement that names nothing is never judged.
    """
    wanted = statements.attributes[None, :, :, None, :]
    here = things.attributes[:, None, None, :, :]
    unnamed = (statements.attributes == ABSENT).all(2)[
        None, :, :, None
    ]  # a clause all of whose words are gone asks for nothing
    fits = (unnamed | (here[..., KIND] != ABSENT)) & (statements.film[None, :] == things.film[:, None])[:, :, None, None]
    for attribute in range(4):
        fits = fits & ((wanted[..., attribute] == ABSENT) | (wanted[..., attribute] == here[..., attribute]))
    relations = related(things.centres)
    surely = (things.visible > PRESENT_ABOVE)[:, None, :]
    perhaps = (things.visible >= ABSENT_BELOW)[:, None, :]
    strict = _chain(fits & (unnamed | surely[:, :, None]), relations, statements)
    loose = _chain(fits & (unnamed | perhaps[:, :, None]), relations, statements)
    unclaimed = statements.n_clauses == 0
    strict |= unclaimed & (statements.film[None, :] == things.film[:, None])
    loose |= unclaimed & (statements.film[None, :] == things.film[:, None])
    for denial in range(N_DENIALS):
        kind = statements.denied[None, :, denial, None]
        same = (kind != ABSENT) & (kind == things.attributes[:, None, :, KIND])
        strict &= ~(same & perhaps).any(-1)
        loose &= ~(same & surely).any(-1)
    result = np.where(strict == loose, strict.astype(np.int64), -1)
    names = (statements.attributes != ABSENT).any((1, 2)) | (statements.denied != ABSENT).any(1)
    return np.where(names[None, :], result, -1)
