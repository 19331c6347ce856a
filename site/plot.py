"""A chart on a page, with the words that say the same."""

import streamlit as st

from benchmark.site.vega import Chart


def plot(chart: Chart, words: str) -> None:
    """Draw a chart as wide as its column; ``words`` are read to those who do not see it."""
    st.vega_lite_chart(chart, width="stretch", theme=None, alt=words)
