"""Start Streamlit with the pages loaded and the first board ranked, so that the first reader waits for neither.

``python -m benchmark.site.serve run APP ...`` takes what ``streamlit run APP ...`` takes.
"""

from contextlib import suppress

import pandas as pd
from streamlit.dataframe_util import convert_pandas_df_to_arrow_bytes
from streamlit.web.cli import main

from benchmark.site import boards, catalogue, compare_page, leaderboard_page, samples_page, tasks_page
from benchmark.site.access import Unreadable, opened, shown

LOADED = (compare_page, samples_page, tasks_page)  # and with them what the other pages need


def warm() -> None:
    """Do once what every page does: send a table, rank the board that is shown first."""
    convert_pandas_df_to_arrow_bytes(pd.DataFrame({"name": ["a"]}))
    with suppress(Unreadable):  # the page itself says so
        store = opened(shown())
        first = leaderboard_page.usual(catalogue.load(), boards.listed(store))
        if first is not None:
            boards.board(store, first.task, first.model, first.metric)


if __name__ == "__main__":
    warm()
    main(prog_name="streamlit")
