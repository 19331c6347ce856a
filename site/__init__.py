# ruff: noqa: A005 - imported as benchmark.site, never as site
"""The site: Streamlit pages over a store or a snapshot. No torch, no scoring.

``benchmark/site`` is a link to this folder, so that the pages are the package ``benchmark.site`` in a clone and in a wheel.

| module | what it does | streamlit |
| --- | --- | --- |
| ``access`` | opens a store or a snapshot read-only, and anew once it was replaced | no |
| ``queries`` | every question that is put to a store; names are from fixed lists, values are parameters | no |
| ``boards`` | ranked boards, comparisons and tracks, each computed once for a state of the store | no |
| ``catalogue`` | cards of methods, metrics, tasks and data sets, from ``catalogue.json`` | no |
| ``charts``, ``theme`` | charts as pure functions of rows; colours | no |
| ``downloads`` | a table as CSV, Parquet, LaTeX or JSON, a figure as PNG or SVG | buttons only |
| ``wording`` | data as text that Markdown leaves alone | no |
| ``controls`` | one function for each kind of control; each is bound to the address | yes |
| ``links`` | addresses of pages, and links to them | yes |
| ``plot`` | a chart on a page | yes |
| ``serve`` | starts Streamlit with all of this loaded | yes |
| ``context`` | what every page is handed | no |
| ``*_page`` | ``render(context)`` draws one page | yes |

A page reads ``context.store`` (an ``access.Store``) through ``queries`` and ``boards``, asks the user through ``controls``, and
shows whatever came from data through ``wording.plain`` wherever Markdown is read.
"""
