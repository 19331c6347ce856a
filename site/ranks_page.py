"""How ranks are made."""

import streamlit as st

from benchmark.site import documents
from benchmark.site.context import Context

SHORT = """
- Every mean has a 95 % interval, from a paired bootstrap over the samples that methods share, resampled by image.
- A method is ranked when it has a value on every sample that any method has one on; others are listed with how many they have.
- Methods that cannot be told apart share a tie group; the interval behind a rank holds 95 % of resampled ranks.
- Failed and degenerate explanations count as the metric's chance value, and are counted beside the mean.
- Tracks are ranked apart and never averaged with each other. A method below `random` or `centre` is marked †.
"""


def render(context: Context) -> None:
    """Draw the page."""
    del context
    st.title("How ranks are made")
    st.markdown(SHORT)
    documents.show("ranking.md")
