"""Frozen lists: balanced prefixes, the published choice, and a list that is not what it was."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fakes import FakeData, FakeEncoder, load_fake_encoder, planted  # noqa: F401
from PIL import Image

from benchmark.cli import cli
from benchmark.data.base import DATASETS, DataSet, Sample
from benchmark.data.phantoms import Phantoms
from benchmark.data.scenes import Scenes
from benchmark.data.selections import HASH_DIGITS, PACKAGED, Choice, Selection, selected
from benchmark.errors import DataError, InvalidInput
from benchmark.records import text_hash
from benchmark.tasks.base import TASKS
from benchmark.tasks.selection import Candidate, deciles, select, stratified, top

LISTS = [(kind, by) for kind in (Scenes, Phantoms) for by in ("deciles", "top")]


def candidates(n: int = 103, images: int | None = None) -> list[Candidate]:
    similarity = np.random.default_rng(0).random(n)
    return [Candidate(i, f"s{i}", f"c{i % (images or n)}", "hash", float(similarity[i])) for i in range(n)]


def test_deciles_are_of_one_size_and_ordered() -> None:
    groups = deciles(candidates())
    assert {len(group) for group in groups} <= {10, 11}
    assert sum(len(group) for group in groups) == 103
    ends = [(min(item.similarity for item in group), max(item.similarity for item in group)) for group in groups]
    assert all(high <= low for (_, high), (low, _) in pairwise(ends))


def test_every_prefix_of_a_stratified_list_is_balanced_and_nothing_comes_twice() -> None:
    found = candidates(1000)
    decile = {item.sample: number for number, group in enumerate(deciles(found)) for item in group}
    chosen = stratified(found, 200, "name")
    assert len({item.sample for item in chosen}) == 200
    for size in range(1, 201):
        counts = Counter(decile[item.sample] for item in chosen[:size])
        assert max(counts.values()) - min(counts[number] for number in range(10)) <= 1, size
    assert stratified(found, 50, "name") == chosen[:50]
    assert stratified(found, 200, "other") != chosen
    first = [decile[item.sample] for item in chosen]
    assert first[:10] != first[10:20]  # no decile always comes first


def test_top_takes_the_best_text_of_every_image_most_similar_images_first() -> None:
    chosen = top(candidates(100, images=20))
    assert [item.cluster for item in chosen] == list(dict.fromkeys(item.cluster for item in chosen))
    assert len(chosen) == 20
    assert [item.similarity for item in chosen] == sorted((item.similarity for item in chosen), reverse=True)
    best = {f"c{i}": max(item.similarity for item in candidates(100, images=20) if item.cluster == f"c{i}") for i in range(20)}
    assert {item.cluster: item.similarity for item in chosen} == best


class Shades(DataSet):
    """Forty grey images whose brightness, the fake encoder's similarity, grows with their number."""

    version = "1"
    size = 40

    def samples(self, view: str, limit: int | None = None) -> Sequence[Sample]:
        if ":" in view:
            return selected(self, view, limit)
        texts = ["" if i == 3 else f"{view} {i}" for i in range(self.size)]
        made = [
            Sample(id=f"shades/{i}", image=Image.new("RGB", (2, 2), (6 * i,) * 3), text=text, cluster=f"c{i}")
            for i, text in enumerate(texts)
        ]
        return made[:limit]


@pytest.fixture
def data(tmp_path: Path) -> Shades:
    Shades.name = "shades"
    return Shades(tmp_path)


def made(data: Shades, by: str = "deciles", n: int = 20) -> tuple[Selection, Path]:
    found = select(data, "captions", FakeEncoder(), by=by, n=n, candidates=None)  # type: ignore[arg-type]
    path = data.require_folder() / "selections" / f"captions-{by}.csv"
    found.write(path)
    return found, path


def test_a_list_is_read_as_it_was_written_and_restricts_the_samples(data: Shades) -> None:
    found, path = made(data)
    assert (found.candidates, found.model) == (39, "fake@r1")  # the empty caption is no candidate
    assert Selection.read(path) == found
    samples = data.samples("captions:deciles")
    assert [sample.id for sample in samples] == [choice.sample for choice in found.choices]
    assert [text_hash(sample.text) for sample in samples[:5]] == [choice.text_hash for choice in found.choices[:5]]
    assert [sample.id for sample in data.samples("captions:deciles", 8)] == [sample.id for sample in samples][:8]
    assert len(data.samples(f"captions:deciles@{found.digest[:HASH_DIGITS]}")) == 20
    ids = [sample.id for sample in data.samples("captions:top")] if made(data, "top", 5) else []
    assert ids == [f"shades/{i}" for i in (39, 38, 37, 36, 35)]


def test_a_list_that_was_changed_or_made_for_other_data_is_refused(data: Shades, monkeypatch: pytest.MonkeyPatch) -> None:
    found, path = made(data)
    with pytest.raises(DataError, match="is another list than the one of this task"):
        data.samples("captions:deciles@00000000")
    monkeypatch.setattr(Shades, "version", "2")
    with pytest.raises(DataError, match="made for shades@1; this is shades@2"):
        data.samples("captions:deciles")
    monkeypatch.undo()
    text = path.read_text()
    path.write_text(text.replace(f"{found.choices[0].sample},", "shades/3,"))
    with pytest.raises(DataError, match="was changed after it was made"):
        data.samples("captions:deciles")
    path.write_text("sample\nshades/1\n")
    with pytest.raises(DataError, match="is no list of samples"):
        data.samples("captions:deciles")
    path.unlink()
    with pytest.raises(DataError, match="benchmark select --data shades --view captions --by deciles --model MODEL"):
        data.samples("captions:deciles")


def test_a_sample_that_is_gone_or_says_something_else_is_an_error(data: Shades, monkeypatch: pytest.MonkeyPatch) -> None:
    found, path = made(data)
    wrong = Choice(sample="shades/1", position=1, text_hash="other", similarity=0.0, decile=0)
    Selection(**{**_fields(found), "choices": (wrong,)}).write(path)
    with pytest.raises(DataError, match="another text of it"):
        data.samples("captions:deciles")[0]
    monkeypatch.setattr(Shades, "size", 10)
    found.write(path)
    with pytest.raises(DataError, match="shades has 10"):
        data.samples("captions:deciles")


def _fields(selection: Selection) -> dict[str, object]:
    return {name: getattr(selection, name) for name in Selection.__slots__}


def test_what_cannot_be_chosen_says_so(data: Shades) -> None:
    with pytest.raises(InvalidInput, match="multiple of 10"):
        made(data, n=15)
    with pytest.raises(InvalidInput, match="has 30 samples to choose as deciles, not 40"):
        made(data, n=40)


@pytest.mark.usefixtures("planted")
def test_the_command_writes_a_list_and_never_over_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.encoders.load_encoder", load_fake_encoder)
    arguments = ["select", "--data", "fake", "--model", "fake", "--n", "20", "--out", str(tmp_path / "list.csv")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    found = Selection.read(tmp_path / "list.csv")
    assert (found.data, found.candidates, len(found.choices)) == ("fake", 40, 20)
    again = CliRunner().invoke(cli, arguments)
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    assert FakeData.name == "fake"


@pytest.mark.parametrize(("kind", "by"), LISTS)
def test_lists_that_ship_are_those_of_the_data_as_it_is(kind: type[Scenes] | type[Phantoms], by: str) -> None:
    found = Selection.read(PACKAGED / f"{kind.name}-captions-{by}.csv")
    assert (found.revision, found.view, found.by, found.candidates, len(found.choices)) == (
        kind.version,
        "captions",
        by,
        1000,
        200,
    )
    samples = kind().samples(f"captions:{by}", 12)
    assert [sample.id for sample in samples] == [choice.sample for choice in found.choices[:12]]
    counts = Counter(choice.decile for choice in found.choices)
    assert counts == (dict.fromkeys(range(10), 20) if by == "deciles" else {9: 100, 8: 100})


def test_tasks_rest_on_the_hash_of_their_list() -> None:
    for data in ("scenes", "phantoms", "coco"):
        for kind, by in (("interactions", "deciles"), ("insertion", "deciles"), ("insertion", "top")):
            task = TASKS[f"{data}-{kind}-{by}"]
            if DATASETS[data].synthetic:
                digest = Selection.read(PACKAGED / f"{data}-captions-{by}.csv").digest
                assert task.view == f"captions:{by}@{digest[:HASH_DIGITS]}"
                assert (task.tiers["smoke"], task.tiers["standard"], task.tiers["full"]) == (8, 200, 200)
            else:
                base = "all_captions" if by == "top" else "captions"  # FIxLIP took the best of an image's five
                assert (task.view, task.tiers["full"]) == (f"{base}:{by}", 1000)
