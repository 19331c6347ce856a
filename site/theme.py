"""Colours that the colour-blind tell apart, in light and in dark; blue stands for minus, red for plus, everywhere."""

from dataclasses import dataclass

CATEGORIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C")
"""Okabe and Ito 2008, without black and yellow, which are lost on a dark or on a light page."""

PALETTE = (
    "#053061",
    "#2166ac",
    "#4393c3",
    "#92c5de",
    "#d1e5f0",
    "#f7f7f7",
    "#fddbc7",
    "#f4a582",
    "#d6604d",
    "#b2182b",
    "#67001f",
)
"""From far below zero to far above it, as in ``benchmark.figures``: ColorBrewer's RdBu; zero stands in its middle."""

STOPS = tuple(tuple(int(stop[place : place + 2], 16) for place in (1, 3, 5)) for stop in PALETTE)
"""The same in red, green and blue, 0 to 255."""

DIVERGING = (PALETTE[2], PALETTE[5], PALETTE[8])
"""Below, at and above the middle of a table whose cells hold dark text."""


@dataclass(frozen=True, slots=True)
class Ink:
    """Colours of what is no data."""

    text: str
    faint: str
    grid: str
    paper: str


LIGHT = Ink(text="#222222", faint="#6b6b6b", grid="#dddddd", paper="#ffffff")
DARK = Ink(text="#f0f0f0", faint="#a8a8a8", grid="#44474f", paper="#171614")


def ink(dark: bool) -> Ink:
    """Return the colours of a theme."""
    return DARK if dark else LIGHT


def colour(position: int) -> str:
    """Return the colour of a category, counted from 0; beyond the last they repeat, so words must tell them apart too."""
    return CATEGORIES[position % len(CATEGORIES)]
