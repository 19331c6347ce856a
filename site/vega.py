"""Vega-Lite charts as plain dictionaries, which are drawn as they are: building them by Altair took half of a page's time."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.site import theme

Chart = dict[str, Any]
"""A Vega-Lite specification, or a part of one, with its data inside."""

Rows = Sequence[Mapping[str, Any]]


def quantity(field: str, **look: Any) -> Chart:
    """Return the channel of a number."""
    return {"field": field, "type": "quantitative", **look}


def category(field: str, **look: Any) -> Chart:
    """Return the channel of a name."""
    return {"field": field, "type": "nominal", **look}


def mark(kind: str, rows: Rows, look: Mapping[str, Any], **channels: Chart | list[Chart]) -> Chart:
    """Return one mark for each of ``rows``."""
    return {"data": {"values": list(rows)}, "mark": {"type": kind, **look}, "encoding": channels}


def chart(*layers: Chart, dark: bool, **properties: Any) -> Chart:
    """Return a chart of marks one above the other, as wide as its place, in the colours of a theme."""
    tones = theme.ink(dark)
    words = {"labelColor": tones.text, "titleColor": tones.text}
    config = {
        "background": "transparent",
        "font": "sans-serif",
        "axis": words | {"gridColor": tones.grid, "domainColor": tones.grid, "tickColor": tones.grid},
        "legend": words,
        "view": {"strokeWidth": 0},
    }
    return {"layer": list(layers), "width": "container", "config": config, **properties}
