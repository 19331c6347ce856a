"""Samples: an image, a text, and where the text's phrases are true in the image."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, overload

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from benchmark.errors import DataError, InvalidInput
from benchmark.types import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Where something is, in pixels of the original image: ``[x0, y0, x1, y1)`` boxes and, if known, their exact mask."""

    boxes: Float[np.ndarray, "box 4"]
    mask: Bool[np.ndarray, "height width"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """A stretch of the text, as character offsets, and the region it speaks of."""

    span: tuple[int, int]
    region: Region
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image-text pair with its truth; ``id`` is unique in its data set, ``cluster`` names the image."""

    id: str
    image: Image.Image | Path
    text: str
    cluster: str
    phrases: tuple[Phrase, ...] = ()
    strata: Mapping[str, str] = field(default_factory=dict[str, str])

    def load_image(self) -> Image.Image:
        """Return the decoded RGB image; an unreadable or truncated file raises ``InvalidInput``."""
        if isinstance(self.image, Image.Image):
            return self.image
        return read_image(self.image)


def read_image(path: Path | str) -> Image.Image:
    """Decode a whole image file as RGB."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise InvalidInput(f"there is no image at {path}") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"the image {path} cannot be read ({error}); is it truncated or not an image?") from error


class LazySamples[K](Sequence[Sample]):
    """Samples made from their keys when asked for, since the masks of a whole data set need more memory than a laptop has."""

    def __init__(self, build: Callable[[K], Sample], keys: Sequence[K]) -> None:
        self._build = build
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "LazySamples[K]": ...
    def __getitem__(self, index: int | slice) -> "Sample | LazySamples[K]":
        if isinstance(index, slice):
            return LazySamples(self._build, self._keys[index])
        return self._build(self._keys[index])


_BIBTEX = re.compile(r"^```bibtex\n(.*?)^```", re.DOTALL | re.MULTILINE)


class DataSet(ABC):
    """A versioned list of samples; ``data_dir`` is a local folder for sets that are not generated.

    ``shows_images`` is false where the licence lets scores be published, but neither images nor texts.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    summary: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    synthetic: ClassVar[bool] = False
    views: ClassVar[tuple[str, ...]] = ("captions", "phrases")
    shows_images: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            DATASETS.add(cls.name, cls)

    def __init__(self, data_dir: Path | None = None) -> None:
        self.data_dir = data_dir

    @property
    def revision(self) -> str:
        """The version, with a hash of the content where a local folder gives it: part of the key of every result."""
        return self.version

    @property
    def card(self) -> str:
        """The data card, as Markdown: what this is, its size, licence and access, leakage, and what may be shown."""
        path = Path(__file__).with_name("cards") / f"{self.name}.md"
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise DataError(f"{self.name} has no data card; it belongs at {path}") from None

    @property
    def bibtex(self) -> str:
        """The BibTeX entries of the papers to cite, as the data card gives them; empty for sets without one."""
        return "\n\n".join(block.strip() for block in _BIBTEX.findall(self.card))

    @property
    def problems(self) -> Sequence[str]:
        """One sentence for each entry of the files that was left out or mended; complete once samples were read."""
        return ()

    @abstractmethod
    def samples(self, view: str, limit: int | None = None) -> Sequence[Sample]:
        """Return the first ``limit`` samples of a named view of the data (``captions``, ``phrases``, ...), in fixed order."""

    def require_folder(self) -> Path:
        if self.data_dir is None:
            raise DataError(f"{self.name} reads a local folder: say where it is with --data-dir FOLDER")
        if not self.data_dir.is_dir():
            raise DataError(f"--data-dir {self.data_dir} is not a folder")
        return self.data_dir


DATASETS: Registry[type[DataSet]] = Registry("data set")
