"""What data sets of annotation files in a local folder share: counted problems, a revision, views by name."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmark.data.base import DataSet, Phrase, Region, Sample
from benchmark.data.coco import article, object_area, one_stratum
from benchmark.data.tables import digest, slug
from benchmark.errors import DataError, UnknownName


class LocalSet(DataSet):
    """A data set read from files under ``data_dir``; ``problems`` has one sentence for each entry that was left out."""

    def __init__(self, data_dir: Path | None = None) -> None:
        super().__init__(data_dir)
        self._problems: list[str] = []

    @property
    def problems(self) -> list[str]:
        return self._problems

    @abstractmethod
    def find_files(self) -> Sequence[Path]:
        """Return the annotation files, in a fixed order."""

    @cached_property
    def files(self) -> Sequence[Path]:
        """The annotation files; their content is the revision."""
        return self.find_files()

    @abstractmethod
    def listed(self, view: str) -> Sequence[Sample]:
        """Return every sample of one of ``views``."""

    @property
    def revision(self) -> str:
        """The version and a hash of the annotation files; images are taken to be those that they describe."""
        return f"{self.version}+{self._digest}"

    @cached_property
    def _digest(self) -> str:
        return digest(self.files)

    def samples(self, view: str, limit: int | None = None) -> Sequence[Sample]:
        """Return the first ``limit`` samples of a view; none at all is an error that gives the first reason."""
        if view not in self.views:
            raise UnknownName(f"view of {self.name}", view, self.views)
        found = self.listed(view)
        if not found:
            reason = f"the first reason of {len(self.problems)}: {self.problems[0]}" if self.problems else "the files name none"
            raise DataError(f"{self.name} has no sample of the view {view!r} in {self.data_dir}; {reason}")
        return found[:limit]


def region_strata(phrases: Sequence[Phrase]) -> dict[str, str]:
    """Return ``object_area`` and ``n_instances`` as COCO's samples have them; a box is an instance."""
    if not phrases:
        return {}
    return {
        "object_area": one_stratum(object_area(phrase.region) for phrase in phrases),
        "n_instances": one_stratum("1" if len(phrase.region.boxes) == 1 else "2+" for phrase in phrases),
    }


def photo_of(words: str) -> str:
    """Return what a phrase without a determiner needs before it to be a caption: "a photo of a ", "a photo of "."""
    return f"a photo of {article(words)}"


def phrase_samples(captions: Iterable[Sample], before: Callable[[str], str]) -> list[Sample]:
    """Return each phrase of an image once, in all its places; the text is the phrase with ``before(phrase)`` before it."""
    found: dict[tuple[str, str], tuple[str, Sample, list[Phrase]]] = {}
    for caption in captions:
        for phrase in caption.phrases:
            words = " ".join(caption.text[slice(*phrase.span)].lower().split())
            found.setdefault((caption.cluster, slug(words)), (words, caption, []))[2].append(phrase)
    samples: list[Sample] = []
    for (cluster, part), (words, caption, phrases) in found.items():
        start = before(words)
        boxes = dict.fromkeys(tuple(box) for phrase in phrases for box in phrase.region.boxes.tolist())
        region = Region(boxes=np.array(list(boxes), dtype=np.float64).reshape(-1, 4))
        joined = Phrase(span=(len(start), len(start) + len(words)), region=region, label=phrases[0].label)
        samples.append(
            Sample(
                id=f"{cluster}#{part}",
                image=caption.image,
                text=start + words,
                cluster=cluster,
                phrases=(joined,),
                strata=region_strata((joined,)),
            )
        )
    return samples
