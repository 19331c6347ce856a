"""A table as CSV, Parquet, LaTeX or JSON, and a figure as PNG or SVG."""

import re
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import pandas as pd
import streamlit as st
from matplotlib.figure import Figure


def to_csv(table: pd.DataFrame) -> bytes:
    """Return every column and row, in UTF-8."""
    return table.to_csv(index=False, lineterminator="\n").encode()


def to_parquet(table: pd.DataFrame) -> bytes:
    """Return every column and row with its type; columns of mixed values become text."""
    stream = BytesIO()
    mixed = {name: table[name].astype("string") for name in table.columns if _is_mixed(table[name])}
    table.assign(**mixed).to_parquet(stream, index=False)
    return stream.getvalue()


def to_latex(table: pd.DataFrame) -> bytes:
    """Return a booktabs table; signs that LaTeX reads are escaped."""
    return table.to_latex(index=False, escape=True, float_format="%.3f", na_rep="--").encode()


def to_json(table: pd.DataFrame) -> bytes:
    """Return a list of objects."""
    return str(table.to_json(orient="records", indent=1, date_format="iso", force_ascii=False)).encode()


def to_image(figure: Figure, form: str) -> bytes:
    """Return a figure as ``png`` or ``svg``."""
    stream = BytesIO()
    figure.savefig(stream, format=form)
    return stream.getvalue()


TABLES: Mapping[str, tuple[str, str, Callable[[pd.DataFrame], bytes]]] = {
    "CSV": ("csv", "text/csv", to_csv),
    "Parquet": ("parquet", "application/vnd.apache.parquet", to_parquet),
    "LaTeX": ("tex", "application/x-tex", to_latex),
    "JSON": ("json", "application/json", to_json),
}
FIGURES: Mapping[str, tuple[str, str]] = {"PNG": ("png", "image/png"), "SVG": ("svg", "image/svg+xml")}


def table_buttons(name: str, table: Callable[[], pd.DataFrame], *, key: str) -> None:
    """Offer a table in every form; it is made when a button is pressed."""
    _buttons(
        {
            label: (f"{file_name(name)}.{suffix}", mime, lambda write=write: write(table()))
            for label, (suffix, mime, write) in TABLES.items()
        },
        key,
    )


def figure_buttons(name: str, figure: Callable[[], Figure], *, key: str) -> None:
    """Offer a figure in every form; it is drawn when a button is pressed."""
    _buttons(
        {
            label: (f"{file_name(name)}.{suffix}", mime, lambda suffix=suffix: to_image(figure(), suffix))
            for label, (suffix, mime) in FIGURES.items()
        },
        key,
    )


def bytes_button(label: str, name: str, data: Callable[[], bytes] | bytes, mime: str, *, key: str) -> None:
    """Offer one file."""
    st.download_button(label, data, file_name=name, mime=mime, key=f"download:{key}", on_click="ignore")


def file_name(name: str) -> str:
    """Return a name that is safe for a file on any system.

    >>> file_name("../a b/<c>")
    'a_b_c'
    """
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._-")[:100] or "table"


def _buttons(offers: Mapping[str, tuple[str, str, Callable[[], bytes]]], key: str) -> None:
    with st.container(horizontal=True, gap="small"):
        for label, (name, mime, data) in offers.items():
            bytes_button(label, name, data, mime, key=f"{key}:{label}")


def _is_mixed(column: Any) -> bool:
    return column.dtype == object and column.map(type).nunique() > 1
