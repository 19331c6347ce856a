"""Which characters of the caption each content token stands for."""

import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher

Offsets = tuple[tuple[int, int] | None, ...]


def align(text: str, pieces: Sequence[str]) -> Offsets:
    """Find each token's characters in ``text``, in order, as ``[start, end)`` offsets, or ``None``.

    ``pieces`` are token strings without word-boundary markers, of all of the text or of its beginning. Case and
    compatibility forms do not matter; characters that the tokenizer dropped are skipped. Pieces that cannot be compared
    (a part of a character's bytes, say) share what lies between their neighbours.
    """
    folded, origin = _folded(text)
    joined, owner = "", list[int]()
    for index, piece in enumerate(pieces):
        letters = "".join(_folded(piece)[0])
        joined += letters
        owner += [index] * len(letters)
    found: list[tuple[int, int] | None] = [None] * len(pieces)
    for block in SequenceMatcher(None, "".join(folded), joined, autojunk=False).get_matching_blocks():
        for step in range(block.size):
            place, index = origin[block.a + step], owner[block.b + step]
            known = found[index]
            found[index] = (place, place + 1) if known is None else (known[0], place + 1)
    return tuple(_gap(text, found, index) if span is None and pieces[index] else span for index, span in enumerate(found))


def _folded(text: str) -> tuple[list[str], list[int]]:
    """Return lower-case characters without white space, and the position in ``text`` that each came from."""
    characters: list[str] = []
    origin: list[int] = []
    for position, character in enumerate(text):
        for folded in unicodedata.normalize("NFKC", character).lower():
            if not folded.isspace():
                characters.append(folded)
                origin.append(position)
    return characters, origin


def _gap(text: str, found: Sequence[tuple[int, int] | None], index: int) -> tuple[int, int] | None:
    """Return what lies between the nearest placed tokens; behind the last of them, the rest of its word or the next word."""
    start = next((span[1] for span in reversed(found[:index]) if span is not None), 0)
    end = next((span[0] for span in found[index + 1 :] if span is not None), None)
    while start < len(text) and text[start].isspace():
        start += 1
    if end is None:
        end = start
        while end < len(text) and not text[end].isspace():
            end += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return (start, end) if end > start else None


def tokens_of_span(offsets: Offsets, span: tuple[int, int]) -> tuple[int, ...]:
    """Return the content tokens that overlap ``[start, end)`` of the caption, by their index among content tokens."""
    start, end = span
    return tuple(i for i, found in enumerate(offsets) if found is not None and found[0] < end and found[1] > start)
