"""What every medical data set promises: a card, views, and tasks on no other views."""

import re

import pytest

from benchmark.data.base import DATASETS
from benchmark.tasks import TASKS

HEADINGS = ["What", "Size", "Licence", "Access", "How to get it", "Leakage", "What may be shown", "Cite"]
WITH_REGIONS = {"chestxray14", "chexlocalize", "mscxr", "padchest", "rsna", "slake", "vindr"}
SCORES_ONLY = {"chexlocalize", "mscxr", "openi", "padchest", "rsna", "vindr"}
MEDICAL = sorted(WITH_REGIONS | {"openi", "rocov2"})


@pytest.mark.parametrize("name", MEDICAL)
def test_the_card_has_every_heading_and_says_what_was_not_checked(name: str) -> None:
    card = DATASETS[name]().card
    assert re.findall(r"^## (.*)$", card, re.MULTILINE) == HEADINGS
    assert "not run on the real download" in " ".join(card.split())


@pytest.mark.parametrize("name", MEDICAL)
def test_only_what_the_licence_allows_is_shown(name: str) -> None:
    assert DATASETS[name].shows_images == (name not in SCORES_ONLY)
    assert DATASETS[name].summary
    assert DATASETS[name].licence
    assert not DATASETS[name].synthetic


@pytest.mark.parametrize("name", MEDICAL)
def test_tasks_are_on_views_that_the_set_has(name: str) -> None:
    tasks = {task.id: task for task in TASKS.values() if task.data == name}
    assert {f"{name}-insertion", f"{name}-interactions"} <= set(tasks)
    assert (f"{name}-pointing" in tasks) == (name in WITH_REGIONS)
    assert (f"{name}-grounding" in tasks) == (name in WITH_REGIONS - {"rsna"})
    assert {task.view for task in tasks.values()} <= set(DATASETS[name].views)


def test_sentences_are_grounded_where_they_have_boxes() -> None:
    assert {TASKS[f"{name}-grounding"].view for name in ("mscxr", "padchest")} == {"grounding"}
