"""What went wrong: explanations and scores that are missing or stand at chance, and why."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from benchmark.site import controls, downloads, links, queries
from benchmark.site.context import Context
from benchmark.site.wording import count

EVERY = "all"
LINKS = 20


def render(context: Context) -> None:
    """Draw the page."""
    st.title("Failures")
    st.write(
        "An explanation that fails is a row with its reason, and every metric gives it the chance value of its sample. Where a "
        "method does not apply, it has no value and no rank."
    )
    explained, scored = queries.failures(context.store), queries.score_failures(context.store)
    everything = [*explained, *scored]
    if not everything:
        st.success("Every explanation and every score in this store is as it should be.")
        return
    cells = st.columns(3)
    with cells[0]:
        method = controls.select("Method", "method", _options(everything, "label"))
    with cells[1]:
        status = controls.select("Status", "status", _options(everything, "status"))
    with cells[2]:
        kind = controls.select("Class of error", "class", _options(explained, "error_class"))
    _explanations([item for item in explained if _fits(item, method, status, kind)])
    _scores([item for item in scored if _fits(item, method, status, EVERY)])


def _explanations(found: Sequence[queries.Facts]) -> None:
    st.header("Explanations")
    if not found:
        st.write("None of this choice.")
        return
    table = pd.DataFrame(found)
    size, reasons = sum(item["n"] for item in found), {item["reason"] for item in found}
    st.write(f"{count(size, 'explanation')}, for {count(len(reasons), 'reason')}.")
    st.dataframe(table, hide_index=True, alt="Explanations that are missing, by method, encoder, data set and reason.")
    with st.expander("Download"):
        downloads.table_buttons("failures", lambda: table, key="failures")
    for item in found[:LINKS]:
        name = f"{item['label']} on {item['sample_id']}: {item['reason']}"
        links.link(name, "samples", data=item["data"], sample=item["sample_id"], methods=item["label"])


def _scores(found: Sequence[queries.Facts]) -> None:
    st.header("Scores")
    if not found:
        st.write("None of this choice.")
        return
    table = pd.DataFrame(found)
    st.write(f"{count(sum(item['n'] for item in found), 'score')} without a value of its own.")
    st.dataframe(table, hide_index=True, alt="Scores that are missing or stand at chance, by method, task, metric and reason.")
    with st.expander("Download the scores' reasons"):
        downloads.table_buttons("score-failures", lambda: table, key="score-failures")


def _options(found: Sequence[queries.Facts], column: str) -> list[str]:
    return [EVERY, *sorted({item[column] for item in found if item[column]})]


def _fits(item: queries.Facts, method: str, status: str, kind: str) -> bool:
    return (
        method in (EVERY, item["label"])
        and status in (EVERY, item["status"])
        and kind in (EVERY, item.get("error_class", EVERY))
    )
