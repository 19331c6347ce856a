"""Pages of the documentation that the site shows."""

import re
from pathlib import Path

import streamlit as st

FOLDER = Path(__file__).with_name("documents")
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]+\)")


def show(name: str) -> None:
    """Draw a page of the documentation without its title; links to files, which a reader of the site has not, become words."""
    path = FOLDER / name
    if path.is_file():
        st.markdown(body(_LINK.sub(r"\1", path.read_text(encoding="utf-8"))))
    else:
        st.caption(f"The whole text is `docs/{name}` of the repository.")


def body(text: str) -> str:
    r"""Return a document without its title, its headings two levels down.

    >>> body("# Title\n## Part")
    '#### Part'
    """
    return re.sub(r"^(#+ )", r"##\1", text.partition("\n")[2], flags=re.MULTILINE)
