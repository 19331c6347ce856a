"""Frozen lists of samples: which samples of a view a task takes, in which order, chosen once by a model's similarity.

A list is a CSV file behind one line of JSON: data set and revision, view, how and by which encoder it was made, and the
SHA-256 of the rows. A view ``captions:deciles`` is the list ``deciles`` of the view ``captions``; ``captions:deciles@<hash>``
also fixes its content, by the first digits of the hash.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Protocol, Self, overload, runtime_checkable

from benchmark.data.base import DataSet, LazySamples, Sample
from benchmark.errors import DataError
from benchmark.records import text_hash

PACKAGED = Path(__file__).parents[1] / "tasks" / "selections"
HASH_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One sample of a list: its place in the view it was taken from, its cosine, and the decile of it (0 lowest)."""

    sample: str
    position: int
    text_hash: str
    similarity: float
    decile: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A frozen list, in the order in which samples are taken: every prefix is a smaller list of the same kind."""

    data: str
    revision: str
    view: str
    by: str
    model: str
    candidates: int
    choices: tuple[Choice, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the rows as they are written."""
        return sha256(self._rows().encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write the list as one file."""
        head = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "choices"}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {json.dumps(head | {'sha256': self.digest})}\n{self._rows()}", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a list; one that was changed since it was written raises ``DataError``."""
        first, _, body = path.read_text(encoding="utf-8").partition("\n")
        try:
            head = json.loads(first.removeprefix("#"))
            expected = head.pop("sha256")
            kinds = {item.name: item.type for item in fields(Choice)}
            choices = tuple(
                Choice(**{name: kinds[name](value) for name, value in row.items()})  # pyright: ignore[reportCallIssue, reportArgumentType]  # str, int and float
                for row in csv.DictReader(StringIO(body))
            )
            found = cls(**head, choices=choices)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{path} is no list of samples ({error}); `benchmark select` makes one") from error
        if sha256(body.encode()).hexdigest() != expected:
            raise DataError(f"{path} was changed after it was made: its rows do not have the hash in its first line")
        return found

    def _rows(self) -> str:
        text = StringIO()
        writer = csv.DictWriter(text, [item.name for item in fields(Choice)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(choice) for choice in self.choices)
        return text.getvalue()


@runtime_checkable
class Takes(Protocol):
    """Samples of which some can be taken at once, cheaper than one by one."""

    def take(self, positions: Sequence[int]) -> Sequence[Sample]:
        """Return the samples at these positions, in this order."""
        ...


class Selected(Sequence[Sample]):
    """The samples of a list, made when asked for; one that is not the sample the list was made with raises ``DataError``."""

    def __init__(self, choices: Sequence[Choice], samples: Sequence[Sample], name: str) -> None:
        self._choices, self._samples, self._name = choices, samples, name

    def __len__(self) -> int:
        return len(self._choices)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "Selected": ...
    def __getitem__(self, index: int | slice) -> "Sample | Selected":
        if isinstance(index, slice):
            return Selected(self._choices[index], self._samples[index], self._name)
        choice, sample = self._choices[index], self._samples[index]
        if (sample.id, text_hash(sample.text)) != (choice.sample, choice.text_hash):
            raise DataError(f"{self._name} was made with {choice.sample}; in its place is {sample.id} or another text of it")
        return sample


def selected(data: DataSet, view: str, limit: int | None = None) -> Selected:
    """Return the first samples of a view's list, ``captions:deciles`` or ``captions:deciles@<hash>``."""
    base, _, rest = view.partition(":")
    by, _, digest = rest.partition("@")
    path = path_of(data, base, by)
    found = Selection.read(path)
    if not found.digest.startswith(digest):
        raise DataError(f"{path} is another list than the one of this task: its hash is {found.digest[:HASH_DIGITS]}")
    if (found.data, found.revision) != (data.name, str(data.revision)):
        raise DataError(f"{path} was made for {found.data}@{found.revision}; this is {data.name}@{data.revision}")
    choices = found.choices[:limit]
    positions = [choice.position for choice in choices]
    samples = data.samples(found.view, max(positions, default=-1) + 1)
    if len(samples) <= max(positions, default=-1):
        raise DataError(f"{path} names samples up to position {max(positions)}; {data.name} has {len(samples)}")
    taken = samples.take(positions) if isinstance(samples, Takes) else LazySamples(samples.__getitem__, positions)
    return Selected(choices, taken, str(path))


def path_of(data: DataSet, view: str, by: str) -> Path:
    """Return the file of a list: with the suite for a generated set, else ``selections/`` in the data folder."""
    packaged = PACKAGED / f"{data.name}-{view}-{by}.csv"
    if packaged.is_file():
        return packaged
    if data.synthetic:
        raise DataError(f"{data.name} has no list {by!r} of its view {view!r}")
    path = data.require_folder() / "selections" / f"{view}-{by}.csv"
    if not path.is_file():
        raise DataError(
            f"there is no list {path}; make it once with `benchmark select --data {data.name} --view {view} --by {by} "
            f"--model MODEL --data-dir {data.data_dir} --out {path}`"
        )
    return path
