"""MS COCO: photographs, captions, and the objects that the captions name."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from benchmark.data.annotations import (
    SPLITS,
    Annotations,
    Caption,
    Files,
    ImageRecord,
    Instance,
    Mention,
    find_files,
    read_annotations,
    region,
)
from benchmark.data.base import DataSet, LazySamples, Phrase, Region, Sample
from benchmark.data.selections import selected
from benchmark.errors import UnknownName

View = Literal["captions", "all_captions", "phrases", "grounding"]

N_PROBED = 100  # images whose captions tell whether captions name categories

SYNONYMS = {
    "bicycle": ("bike",),
    "motorcycle": ("motorbike",),
    "airplane": ("plane", "aeroplane"),
    "couch": ("sofa",),
    "tv": ("television",),
    "dining table": ("table",),
    "cell phone": ("cellphone", "mobile phone"),
    "refrigerator": ("fridge",),
    "donut": ("doughnut",),
    "hot dog": ("hotdog",),
    "hair drier": ("hair dryer",),
}
IRREGULAR_PLURALS = {
    "person": ("people", "persons"),
    "mouse": ("mice",),
    "knife": ("knives",),
    "man": ("men",),
    "woman": ("women",),
    "child": ("children",),
    "sheep": ("sheep",),
    "skis": ("skis",),
    "scissors": ("scissors",),
}
# "train station", "toilet paper", "clock tower": the first word names no object of its own.
HEAD_NOUNS = (
    "area bowl box car case crossing food house juice lot paper park platform pole room seat shelf shop "
    "stand station statue stop store tower track tracks tree yard"
)
NEGATION = re.compile(r"\b(?:no|not|without)(?:\s+(?:a|an|any|the))?\s*$", re.IGNORECASE)
DETERMINER = re.compile(
    r"(?:a|an|the|this|that|these|those|his|her|its|their|some|several|many|another|"
    r"one|two|three|four|five|six|seven|eight|nine|ten|\d+)(?:\s|$)",
    re.IGNORECASE,
)


class Coco(DataSet):
    """MS COCO in a local folder, in the official layout or as ``captions.json``, ``instances.json`` and ``images/``.

    A phrase's region comes from a phrases file where there is one (``annotations._read_phrases`` gives the format), else
    by rule: a category's name, its plural or a listed synonym, as whole words, named once in the caption and neither
    negated nor the first half of a compound, speaks of every instance of that category in the image. Crowd regions are
    among them: "people" are also those nobody outlined one by one. The rule does not tell which of several dogs "a dog"
    is; ``n_instances`` is ``1`` where the question does not arise.

    Strata: ``licence``, the photograph's licence id; with phrases also ``object_area`` (COCO's limits of 32² and 96²
    pixels, on the phrase's whole region) and ``n_instances`` (``1``, or ``2+`` where several or a crowd), each ``mixed``
    where a sample's phrases differ.

    A photograph that is missing or damaged stays in the list: its ``load_image`` raises ``InvalidInput``.
    """

    name = "coco"
    version = "1"
    summary = "photographs with captions and outlined objects"
    licence = "annotations CC BY 4.0; each photograph has a Flickr licence of its own (stratum 'licence')"
    views = get_args(View)

    def __init__(self, data_dir: Path | None = None, split: str | None = None) -> None:
        super().__init__(data_dir)
        self.split = split

    @cached_property
    def files(self) -> Files:
        """The annotation files that are read."""
        return find_files(self.require_folder(), self.split)

    @cached_property
    def annotations(self) -> Annotations:
        """What the files say, after checking."""
        return read_annotations(self.files)

    @property
    def revision(self) -> str:
        """The version and a hash of the annotation files; photographs are taken to be those that they describe."""
        return f"{self.version}+{self._digest}"

    @cached_property
    def _digest(self) -> str:
        files = self.files
        paths = (files.captions, files.instances, files.phrases)
        return sha256(b"".join(sha256(path.read_bytes()).digest() for path in paths if path is not None)).hexdigest()[:12]

    @property
    def problems(self) -> Sequence[str]:
        """One sentence for each entry of the files that was left out or mended."""
        return tuple(self.annotations.problems)

    def samples(self, view: str, limit: int | None = None) -> Sequence[Sample]:
        """Return samples by ascending image id, then caption id; regions are drawn when a sample is read.

        ``captions``: each image with its first caption, and what phrases that has; ``all_captions``: with each of them in
        turn. ``grounding``: every caption that has a phrase. ``phrases``: each phrase of an image once, as "a photo of a
        dog"; phrases of the same words in several captions of an image are one, in all their places. Where captions seldom
        name a category, the phrases are the names of the categories in the image instead. ``captions:deciles``
        and the like are frozen lists (``data.selections``).
        """
        if ":" in view:
            return selected(self, view, limit)
        if view == "phrases":
            phrases = self._phrases() if self._names_objects else self._category_phrases()
            return LazySamples(self._phrase_sample, list(islice(phrases, limit)))
        if view not in get_args(View):
            raise UnknownName("view of coco", view, get_args(View))
        kinds = {
            "captions": self._first_captions,
            "all_captions": lambda: chain.from_iterable(self.annotations.captions.values()),
            "grounding": self._grounded_captions,
        }
        chosen = kinds[view]()
        return LazySamples(self._caption_sample, list(islice(chosen, limit)))

    def _first_captions(self) -> Iterator[Caption]:
        return (captions[0] for captions in self.annotations.captions.values())

    def _grounded_captions(self) -> Iterator[Caption]:
        return (caption for captions in self.annotations.captions.values() for caption in captions if self.mentions(caption))

    def _phrases(self) -> Iterator[tuple[int, str, Mention]]:
        for image_id, captions in self.annotations.captions.items():
            found: dict[str, tuple[str, Mention]] = {}
            for caption in captions:
                for mention in self.mentions(caption):
                    words = " ".join(caption.text[mention.start : mention.end].lower().split())
                    slug = _slug(words)
                    words, first = found.get(slug, (words, mention))
                    joined = tuple(dict.fromkeys((*first.instances, *mention.instances)))
                    found[slug] = words, Mention(first.start, first.end, first.label, joined)
            yield from ((image_id, words, mention) for words, mention in found.values())

    def _category_phrases(self) -> Iterator[tuple[int, str, Mention]]:
        for image_id, instances in self.annotations.instances.items():
            for category in dict.fromkeys(instance.category for instance in instances):
                named = tuple(instance for instance in instances if instance.category == category)
                yield image_id, category, Mention(0, 0, category, named)

    @cached_property
    def _names_objects(self) -> bool:
        """Whether at least half of the first images with captions and objects have a phrase; with a phrases file, true."""
        if self.annotations.mentions is not None:
            return True
        described = [image for image in self.annotations.captions if image in self.annotations.instances][:N_PROBED]
        named = sum(any(map(self.mentions, self.annotations.captions[image])) for image in described)
        return 2 * named >= len(described) > 0

    def mentions(self, caption: Caption) -> Sequence[Mention]:
        """Return the phrases of one caption and the instances that each speaks of, in order."""
        if self.annotations.mentions is not None:
            return self.annotations.mentions.get(caption.id, [])
        instances = self.annotations.instances.get(caption.image_id, [])
        found: list[Mention] = []
        for start, end, category in self._words.find(caption.text):
            named = tuple(instance for instance in instances if instance.category == category)
            if named:
                found.append(Mention(start, end, category, named))
        return found

    @cached_property
    def _words(self) -> "CategoryWords":
        return CategoryWords(self.annotations.categories)

    def _caption_sample(self, caption: Caption) -> Sample:
        mentions = self.mentions(caption)
        image = self.annotations.images[caption.image_id]
        phrases = tuple(
            Phrase(span=(mention.start, mention.end), region=_region(mention.instances, image), label=mention.label)
            for mention in mentions
        )
        return self._sample(image, str(caption.id), caption.text, phrases, mentions)

    def _phrase_sample(self, key: tuple[int, str, Mention]) -> Sample:
        image_id, words, mention = key
        image = self.annotations.images[image_id]
        start = f"a photo of {article(words)}"
        phrase = Phrase(
            span=(len(start), len(start) + len(words)), region=_region(mention.instances, image), label=mention.label
        )
        return self._sample(image, _slug(words), start + words, (phrase,), (mention,))

    def _sample(
        self, image: ImageRecord, part: str, text: str, phrases: tuple[Phrase, ...], mentions: Sequence[Mention]
    ) -> Sample:
        cluster = f"{self.name}/{image.id:012d}"
        strata = {"licence": image.licence}
        if phrases:
            strata["object_area"] = one_stratum(object_area(phrase.region) for phrase in phrases)
            strata["n_instances"] = one_stratum(_count(mention.instances) for mention in mentions)
        return Sample(
            id=f"{cluster}#{part}", image=self._path(image), text=text, cluster=cluster, phrases=phrases, strata=strata
        )

    def _path(self, image: ImageRecord) -> Path:
        """Return the photograph's path, or where it would be expected if no folder has it."""
        folder, split = self.require_folder(), self.files.split
        folders = [folder / name for name in dict.fromkeys(("images", split or "images", f"images/{split}", *SPLITS, "."))]
        paths = [place / image.file_name for place in folders]
        expected = paths[0] if folders[0].is_dir() else paths[1]
        return next((path for path in paths if path.is_file()), expected)


class CategoryWords:
    """The words by which a caption names a category."""

    def __init__(self, categories: Iterable[str]) -> None:
        self._category: dict[str, str] = {}
        for category in categories:
            for name in (category, *SYNONYMS.get(category, ())):
                for form in (name, *plurals(name)):
                    self._category.setdefault(form.lower(), category)
        # Longest first: "hot dog" is no dog, "dining table" is one mention.
        forms = sorted(self._category, key=lambda form: (-len(form), form))
        words = "|".join(r"[\s-]+".join(map(re.escape, form.split())) for form in forms)
        self._pattern = re.compile(rf"(?<![\w-])(?:{words})(?![\w-])", re.IGNORECASE)
        self._compound = re.compile(rf"\s+(?:{'|'.join(HEAD_NOUNS.split())})\b", re.IGNORECASE)

    def find(self, text: str) -> list[tuple[int, int, str]]:
        """Return (start, end, category) in order, of categories named exactly once, plainly, as something there."""
        if not self._category:
            return []
        found = [
            (match.start(), match.end(), self._category[re.sub(r"[\s-]+", " ", match.group().lower())])
            for match in self._pattern.finditer(text)
        ]
        count = Counter(category for *_, category in found)
        return [
            (start, end, category)
            for start, end, category in found
            if count[category] == 1 and not NEGATION.search(text[:start]) and not self._compound.match(text, end)
        ]


def plurals(name: str) -> tuple[str, ...]:
    """Return the plural forms of an English name, whose last word is the one that changes.

    >>> plurals("wine glass"), plurals("person")
    (('wine glasses',), ('people', 'persons'))
    """
    *before, last = name.split(" ")
    if last in IRREGULAR_PLURALS:
        forms = IRREGULAR_PLURALS[last]
    elif last.endswith(("s", "x", "z", "ch", "sh")):
        forms = (last + "es",)
    elif last.endswith("y") and last[-2:-1] not in {"", *"aeiou"}:
        forms = (last[:-1] + "ies",)
    else:
        forms = (last + "s",)
    return tuple(" ".join((*before, form)) for form in forms)


def article(words: str) -> str:
    """Return what "a photo of" needs before a noun phrase: ``"a "``, ``"an "``, or nothing before a plural or determiner.

    >>> article("dog"), article("airplane"), article("two dogs"), article("people")
    ('a ', 'an ', '', '')
    """
    first, last = words.split()[0].lower(), words.split()[-1].lower()
    irregular = {form for forms in IRREGULAR_PLURALS.values() for form in forms} - {"sheep"}
    if DETERMINER.match(words) or last in irregular:
        return ""
    if last.endswith("s") and not last.endswith(("ss", "us")):
        return ""
    return "an " if first[0] in "aeiou" and not first.startswith(("uni", "one", "eu")) else "a "


def _slug(words: str) -> str:
    return re.sub(r"\W+", "-", words).strip("-")


def _region(instances: Sequence[Instance], image: ImageRecord) -> Region:
    return region(instances, image.width, image.height)


def object_area(where: Region) -> str:
    """Return COCO's size of an object: ``small`` under 32² pixels, ``large`` from 96², by mask or else by boxes."""
    sides = where.boxes[:, 2:] - where.boxes[:, :2]
    pixels = float(sides.prod(axis=1).sum()) if where.mask is None else int(np.count_nonzero(where.mask))
    return "small" if pixels < 32**2 else "medium" if pixels < 96**2 else "large"


def _count(instances: Sequence[Instance]) -> str:
    return "1" if len(instances) == 1 and not instances[0].crowd else "2+"


def one_stratum(values: Iterable[str]) -> str:
    """Return the value that all share, or ``mixed``."""
    found = set(values)
    return found.pop() if len(found) == 1 else "mixed"
