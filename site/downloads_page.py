"""Whole tables, the manifest of a snapshot, and how to cite."""

import json
from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from benchmark.site import boards, controls, downloads, queries
from benchmark.site.context import Context
from benchmark.site.queries import Table
from benchmark.site.wording import count, plain
from benchmark.snapshots.manifest import MANIFEST

WHAT: Mapping[Table, str] = {
    "scores": "every score of every sample",
    "explanations": "every explanation's method, cost and outcome, without its arrays",
    "samples": "every sample: text, image and strata",
    "runs": "every command that added to this store",
    "failures": "every explanation that is missing, with its reason",
}
LARGE = 200_000
FREEZE = """benchmark snapshot create leaderboards/SUITE/VERSION
benchmark snapshot verify leaderboards/SUITE/VERSION"""
BIBTEX = """@software{xlip_bench,
  title = {XLIP-Bench: how far explanations of image-text encoders can be trusted},
  author = {{XLIP-Bench contributors}},
  year = {2026},
  license = {Apache-2.0}
}"""


def render(context: Context) -> None:
    """Draw the page."""
    st.title("Downloads and citation")
    _tables(context)
    _snapshot(context)
    _citation(context)
    st.header("Runs")
    table = pd.DataFrame(queries.runs(context.store))
    st.dataframe(table, hide_index=True, alt="The commands that made this store, newest first.")
    st.header("The schema")
    st.write('Ask anything with `benchmark sql "SELECT ..."`, or open the file with DuckDB (`-readonly`).')
    schema = queries.schema_text(context.store)
    st.code(schema, language="sql", wrap_lines=True)
    downloads.bytes_button("Download the schema", "schema.sql", schema.encode(), "application/sql", key="schema")


def _tables(context: Context) -> None:
    st.header("Whole tables")
    table = controls.select("Table", "table", list(WHAT), shown=lambda name: f"{name}: {WHAT[name]}")
    size = queries.size_of(context.store, table)
    st.write(f"{count(size, 'row')}." + (" Parquet is by far the smallest." if size > LARGE else ""))
    hidden = [name for name, card in context.catalogue.data.items() if not card.shows_images]
    downloads.table_buttons(table, lambda: queries.whole(context.store, table, hidden), key="whole")
    st.write("The leaderboard, every board that this store has:")
    downloads.table_buttons("leaderboard", lambda: boards.everything(context.store), key="everything")


def _snapshot(context: Context) -> None:
    st.header("Snapshot")
    if not context.store.is_snapshot:
        st.write("This site shows a store that may grow. For a paper, freeze it and cite the folder:")
        st.code(
            "benchmark snapshot create leaderboards/SUITE/VERSION\nbenchmark snapshot verify leaderboards/SUITE/VERSION",
            language="sh",
        )
        return
    st.write(f"This site shows the frozen snapshot {plain(context.store.path.name)}. Anybody can check it:")
    st.code(f"benchmark snapshot verify {context.store.path.name}", language="sh")
    manifest = (context.store.path / MANIFEST).read_bytes()
    downloads.bytes_button("Download the manifest", MANIFEST, manifest, "application/json", key="manifest")
    with st.expander("The manifest"):
        st.json(json.loads(manifest), expanded=1)


def _citation(context: Context) -> None:
    st.header("Citation")
    st.code(BIBTEX, language="bibtex", wrap_lines=True)
    run = [item["label"] for item in queries.labels(context.store)]
    everything = bibliography([context.catalogue.method(label).bibtex for label in run])
    st.write("Cite the methods too; this file holds those that were run here:")
    downloads.bytes_button("Download BibTeX", "xlip-bench.bib", everything.encode(), "text/x-bibtex", key="bib")


def bibliography(entries: Sequence[str]) -> str:
    """Return the suite's entry and those given, each once."""
    return "\n\n".join(dict.fromkeys([BIBTEX, *(entry.strip() for entry in entries if entry)])) + "\n"
