"""The site's entry: opens the store, builds the menu and draws the page that the address names.

Started by ``benchmark site``, which says what to show in ``XLIP_STORE`` or ``XLIP_SNAPSHOT``,
and where images of data sets lie in ``XLIP_SITE_DATA``.
"""

import os
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from benchmark.site import (
    catalogue,
    compare_page,
    downloads_page,
    failures_page,
    leaderboard_page,
    links,
    methods_page,
    queries,
    ranks_page,
    samples_page,
    submit_page,
    tasks_page,
    trouble_page,
    wording,
)
from benchmark.site.access import Store, Unreadable, Version, opened, shown
from benchmark.site.context import Context

LOOK_AGAIN = 3  # seconds between two looks at whether a run has published anew


RENDER: dict[str, Callable[[Context], None]] = {
    "leaderboard": leaderboard_page.render,
    "compare": compare_page.render,
    "samples": samples_page.render,
    "methods": methods_page.render,
    "tasks": tasks_page.render,
    "failures": failures_page.render,
    "submit": submit_page.render,
    "downloads": downloads_page.render,
    "ranks": ranks_page.render,
}


def data_folder() -> Path | None:
    """Return the folder of data that is not generated, if one was named."""
    folder = os.environ.get("XLIP_SITE_DATA")
    return Path(folder) if folder else None


@st.fragment(run_every=LOOK_AGAIN)
def watch(store: Store, drawn: Version) -> None:
    """Draw the page anew once the store on the disk is another than the one drawn."""
    if store.version != drawn:
        st.rerun()


def draw(name: str, store: Store) -> None:
    """Draw one page, or what to do about a store that cannot be read."""
    st.session_state["page"] = name
    version = store.version
    dark = getattr(st.context.theme, "type", None) == "dark"
    try:
        footer(store)
        RENDER[name](Context(store=store, catalogue=catalogue.load(), dark=dark, data_dir=data_folder()))
    except Unreadable as error:
        trouble_page.render(error)
    if not store.is_snapshot:
        watch(store, version)


def footer(store: Store) -> None:
    """Say in the menu what is shown."""
    found = queries.overview(store)
    kind = "snapshot" if store.is_snapshot else "store"
    newest = f", last added to {found['newest']:%Y-%m-%d %H:%M} UTC" if found["newest"] else ""
    counts = f"{wording.count(found['n_explanations'], 'explanation')}, {wording.count(found['n_scores'], 'score')}"
    st.sidebar.caption(f"{kind} {wording.plain(store.path.name)}: {counts}{newest}")


def main() -> None:
    """Build the menu and draw a page."""
    st.set_page_config(page_title="XLIP-Bench", layout="wide", initial_sidebar_state="auto")
    store = opened(shown())
    pages = {
        name: st.Page(lambda name=name: draw(name, store), title=title, url_path=name) for name, title in links.PAGES.items()
    }
    home = st.Page(lambda: st.switch_page(pages["leaderboard"]), title="XLIP-Bench", default=True, visibility="hidden")
    st.session_state["pages"] = pages
    st.navigation([home, *pages.values()]).run()


main()
