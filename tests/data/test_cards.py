import re

import pytest

from benchmark.data import DATASETS
from benchmark.data.base import DataSet
from benchmark.errors import DataError

HEADINGS = ("What", "Size", "Licence", "Access", "How to get it", "Leakage", "What may be shown")


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_data_set_has_a_card_that_answers_each_question(name: str) -> None:
    card = DATASETS[name]().card
    assert card.startswith("# ")
    parts = re.split(r"^## (.+)$", card, flags=re.MULTILINE)
    answers = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert [heading for heading in answers if heading in HEADINGS] == list(HEADINGS)
    assert all(answers[heading].strip() for heading in HEADINGS)


@pytest.mark.parametrize("name", list(DATASETS))
def test_a_set_whose_images_are_not_shown_says_so(name: str) -> None:
    shown = re.split(r"^## What may be shown$", DATASETS[name]().card, flags=re.MULTILINE)[1]
    assert DATASETS[name].shows_images or "score" in shown.lower()


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_data_set_says_what_it_is_and_under_which_licence(name: str) -> None:
    data = DATASETS[name]
    assert data.summary
    assert data.licence
    assert data.views


def test_a_set_without_a_card_says_where_it_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DATASETS["scenes"], "name", "cardless")
    data: DataSet = DATASETS["scenes"]()
    with pytest.raises(DataError, match=r"cardless has no data card; it belongs at .*cards.cardless\.md"):
        _ = data.card
