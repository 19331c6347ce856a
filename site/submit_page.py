"""How a method gets onto the board."""

import streamlit as st

from benchmark.site import documents
from benchmark.site.context import Context

STEPS = """
1. `benchmark submission new my_method` writes a folder that already passes.
2. Put your method into `submissions/my_method/explainer.py`, and what it is into `submission.toml`.
3. `benchmark submission check my_method` says what is wrong and how to mend it, in under a minute on a CPU.
4. `benchmark submission run my_method` runs the suites; `benchmark leaderboard` and this site show where it stands.
5. Open a pull request with the folder. Its scores are shown with a badge that says who made and scored the explanations.
"""


def render(context: Context) -> None:
    """Draw the page."""
    del context
    st.title("Submit")
    st.markdown(STEPS)
    documents.show("submitting.md")
