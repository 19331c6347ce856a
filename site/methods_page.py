"""Cards of methods: what each is, where it works, what it costs and how it fails here."""

import json
from typing import Any

import pandas as pd
import streamlit as st

from benchmark.site import boards, controls, downloads, links, queries
from benchmark.site.catalogue import MethodCard
from benchmark.site.context import Context
from benchmark.site.wording import line, plain


def render(context: Context) -> None:
    """Draw the page."""
    st.title("Methods")
    stored = {item["label"]: item for item in queries.labels(context.store)}
    names = list(dict.fromkeys([*sorted(stored), *sorted(context.catalogue.methods)]))
    label = controls.select("Method", "method", names, shown=lambda name: name if name in stored else f"{name} (not run here)")
    card = context.catalogue.method(label)
    st.header(plain(label))
    _card(card, stored.get(label))
    if label in stored:
        _here(context, label)
    _overview(context, names, stored)


def _card(card: MethodCard, stored: dict[str, Any] | None) -> None:
    if card.known:
        st.write(plain(card.summary, 2000))
    else:
        st.write("A submission or a plug-in: it has no card in the package, only what this store knows of it.")
    facts = {
        "Version": str(stored["method_version"] if stored else card.version),
        "Yields": ", ".join(card.yields),
        "Needs": ", ".join(card.needs) or ("nothing but the two embeddings" if card.known else ""),
        "Result": {True: "deterministic", False: "seeded", None: ""}[card.deterministic],
        "Kind": "control" if card.baseline or card.reads_truth else "",
        "Paper": card.paper,
        "Differs from its paper or code": card.differs,
    }
    for name, value in facts.items():
        if value:
            st.write(f"**{name}**: {plain(value, 3000)}")
    used = json.loads(stored["parameters"]) if stored and stored["parameters"] else {}
    parameters = pd.DataFrame(
        [
            {
                "parameter": name,
                "here": line(json.dumps(used[name])) if name in used else "",
                "default": line(json.dumps(card.parameters[name])) if name in card.parameters else "",
                "published": line(card.published.get(name, "")),
            }
            for name in dict.fromkeys([*card.parameters, *used, *card.published])
        ]
    )
    if not parameters.empty:
        st.subheader("Parameters")
        st.dataframe(parameters, hide_index=True, alt="Parameters: values here, defaults, published values.")
    if card.families:
        st.subheader("Where it works")
        families = pd.DataFrame(
            [{"family of encoders": name, "verdict": verdict, "why": why} for name, (verdict, why) in card.families.items()]
        )
        st.dataframe(families, hide_index=True, alt="Which families of encoders the method serves with its defaults.")
    if card.bibtex:
        st.subheader("BibTeX")
        st.code(card.bibtex, language="bibtex", wrap_lines=True)
        name = f"{downloads.file_name(card.name)}.bib"
        downloads.bytes_button("Download BibTeX", name, card.bibtex.encode(), "text/x-bibtex", key="bib")


def _here(context: Context, label: str) -> None:
    st.subheader("In this store")
    found = pd.DataFrame(queries.coverage(context.store, label))
    if not found.empty:
        st.dataframe(found.round(3), hide_index=True, alt="Explanations by encoder and data set with their median cost.")
        with st.expander("Download"):
            downloads.table_buttons(f"{label}-coverage", lambda: found, key="coverage")
    failed = [item for item in queries.failures(context.store) if item["label"] == label]
    for item in failed[:10]:
        st.caption(plain(f"{item['status']} on {item['n']} of {item['data']} with {item['encoder']}: {item['reason']}"))
    tasks = sorted({item.task for item in boards.listed(context.store)})
    with st.container(horizontal=True):
        links.link("Its samples", "samples", icon=":material/image_search:", methods=label)
        if failed:
            links.link("Its failures", "failures", icon=":material/report:", method=label)
        if tasks:
            links.link("The leaderboard", "leaderboard", icon=":material/leaderboard:", method=label)


def _overview(context: Context, names: list[str], stored: dict[str, dict[str, Any]]) -> None:
    st.subheader("All methods")
    table = pd.DataFrame(
        [
            {
                "method": name,
                "run here": "yes" if name in stored else "no",
                "yields": ", ".join(card.yields),
                "needs": ", ".join(card.needs),
                "control": "yes" if card.baseline or card.reads_truth else "no",
                "paper": card.paper,
            }
            for name in names
            for card in [context.catalogue.method(name)]
        ]
    )
    wide = {"method": st.column_config.Column(width=170)}
    st.dataframe(table, hide_index=True, alt="All methods with what they yield and need.", column_config=wide)
    with st.expander("Download the list"):
        downloads.table_buttons("methods", lambda: table, key="methods")
