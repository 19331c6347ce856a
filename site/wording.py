"""Data as text: nothing that a method's name or a caption holds is read as Markdown, HTML or LaTeX."""

import re

LONGEST = 400
_SIGNS = re.compile(r"([!-/:-@\[-`{-~])")  # all of ASCII's punctuation; a backslash before it makes it plain
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")


def line(text: object, longest: int = LONGEST) -> str:
    r"""Return one line without control characters, shortened to ``longest`` signs.

    >>> line("two\nlines")
    'two lines'
    """
    flat = _CONTROLS.sub(" ", str(text)).strip()
    return flat if len(flat) <= longest else f"{flat[: longest - 1]}…"


def plain(text: object, longest: int = LONGEST) -> str:
    r"""Return text that Markdown shows as it is.

    >>> plain("<b>*bold*</b>")
    '\\<b\\>\\*bold\\*\\<\\/b\\>'
    """
    return _SIGNS.sub(r"\\\1", line(text, longest))


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for a sentence; a missing one is a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def count(n: int, noun: str) -> str:
    """Return a number with its noun.

    >>> count(1, "sample"), count(2, "sample")
    ('1 sample', '2 samples')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}".replace(",", " ")
