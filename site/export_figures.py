"""Pictures of an export: intervals as shares of a line, maps as small PNGs, figures for papers as SVG. The same each time."""

import warnings
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from benchmark.site import theme
from benchmark.site.charts import Estimate

LEVELS = 10
"""Steps of a token's colour on either side of zero; a stylesheet has one class for each."""

_SALT = "xlip-bench"  # else ids in an SVG are drawn by chance


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with its interval, in percent of the line that it is drawn on."""

    name: str
    value: float
    low: float
    high: float
    group: int
    note: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars below each other; ``lines`` cross them all, ``ticks`` are numbers of the scale. Places are in percent."""

    bars: tuple[Bar, ...]
    lines: tuple[tuple[str, float], ...]
    ticks: tuple[tuple[str, float], ...]


def chart(items: Sequence[Estimate], lines: Sequence[tuple[str, float]]) -> Chart:
    """Place estimates and named values on one line that ends at round numbers."""
    values = [value for item in items for value in (item.low, item.value, item.high)] + [value for _, value in lines]
    scale = [float(tick) for tick in MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(min(values), max(values))]
    start, end = min(scale[0], *values), max(scale[-1], *values)

    def place(value: float) -> float:
        return round(100 * (value - start) / ((end - start) or 1.0), 2)

    return Chart(
        bars=tuple(
            Bar(item.name, place(item.value), place(item.low), place(item.high), item.group % len(theme.CATEGORIES), item.note)
            for item in items
        ),
        lines=tuple((name, place(value)) for name, value in lines),
        ticks=tuple((f"{value:.10g}", place(value)) for value in scale),
    )


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG without date and chance."""
    stream = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": _SALT}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)  # a box stands for it
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def heat(values: Float[np.ndarray, "row column"], limit: float) -> str:
    """Return a map as a ``data:`` address of a PNG, a pixel for each patch; colours are full at plus and minus ``limit``."""
    stops = np.array(theme.STOPS, dtype=np.float64)
    place = (np.clip(values / limit, -1.0, 1.0) + 1.0) / 2.0 * (len(stops) - 1)
    colours = np.stack([np.interp(place, np.arange(len(stops)), stops[:, channel]) for channel in range(3)], axis=-1)
    stream = BytesIO()
    Image.fromarray(colours.round().astype(np.uint8)).save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(stream.getvalue()).decode()}"


def level(value: float, limit: float) -> int:
    """Return the step of a token's colour, 0 for the lowest and twice ``LEVELS`` for the highest.

    >>> level(0.0, 1.0), level(-3.0, 1.0)
    (10, 0)
    """
    return LEVELS + round(float(np.clip(value / limit, -1.0, 1.0)) * LEVELS)


def level_styles() -> str:
    """Return the stylesheet's classes of tokens' colours, whose text is dark on light and light on dark ones."""
    stops = np.array(theme.STOPS, dtype=np.float64)
    places = np.linspace(0, len(stops) - 1, 2 * LEVELS + 1)
    rules: list[str] = []
    for step, place in enumerate(places):
        red, green, blue = (round(float(np.interp(place, np.arange(len(stops)), stops[:, i]))) for i in range(3))
        ink = "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else "#ffffff"
        rules.append(f".v{step} {{ background: #{red:02x}{green:02x}{blue:02x}; color: {ink}; }}")
    rules += [f".g{place} {{ --group: {colour}; }}" for place, colour in enumerate(theme.CATEGORIES)]
    stops_text = ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in theme.STOPS)
    return "\n".join([*rules, f".key i {{ background: linear-gradient(to right, {stops_text}); }}"]) + "\n"


def picture(image: Image.Image) -> tuple[str, bytes]:
    """Return an image as a file, and how its name ends: a drawn one as PNG, a photograph as JPEG."""
    stream = BytesIO()
    if image.getcolors(4096):
        image.save(stream, "PNG", optimize=True)
        return "png", stream.getvalue()
    image.save(stream, "JPEG", quality=88)
    return "jpg", stream.getvalue()
