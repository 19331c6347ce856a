"""A chart on a page, with the words that say the same."""

from typing import Any

import streamlit as st

from benchmark.site import charts


def plot(chart: Any, words: str) -> None:
    """Draw an Altair chart as wide as its column; ``words`` are read to those who do not see it."""
    st.vega_lite_chart(charts.specification(chart), width="stretch", theme=None, alt=words)
