"""Addresses of pages, and links between them."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from benchmark.site.wording import plain

Parameters = Mapping[str, str | Sequence[str]]

PAGES: Mapping[str, str] = {
    "leaderboard": "Leaderboard",
    "compare": "Compare",
    "samples": "Samples",
    "methods": "Methods",
    "tasks": "Tasks and data",
    "failures": "Failures",
    "submit": "Submit",
    "downloads": "Downloads and citation",
    "ranks": "How ranks are made",
}
"""The path of every page in an address, and its title, in the order of the menu."""


def address(page: str, **parameters: str | Sequence[str]) -> str:
    """Return the address of a page with its controls set, relative to the site's root.

    >>> address("compare", methods=["a", "b[x=1]"])
    'compare?methods=a&methods=b%5Bx%3D1%5D'
    """
    if page not in PAGES:
        raise ValueError(f"no page is called {page!r}; known: {', '.join(PAGES)}")
    return f"{page}?{urlencode(parameters, doseq=True)}" if parameters else page


def link(label: str, page: str, *, icon: str | None = None, **parameters: str | Sequence[str]) -> None:
    """Draw a link to another page; ``label`` may come from data. To change the page one is on, ``controls.assign`` serves."""
    known: dict[str, Any] = st.session_state.get("pages", {})
    if page in known:
        st.page_link(known[page], label=plain(label, 80), icon=icon, query_params=dict(parameters))
    else:  # a page that is drawn by itself has no others
        st.markdown(f"[{plain(label, 80)}]({address(page, **parameters)})")
