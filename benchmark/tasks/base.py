"""A task: data, protocol, metrics and a version, as one frozen value that prints whole."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from benchmark.data.base import DATASETS, Sample
from benchmark.metrics.base import METRICS, Metric, Score
from benchmark.types import Registry

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair
    from benchmark.explanations import Explanation
    from benchmark.games.similarity import SimilarityGame

TIERS = {"smoke": 8, "lite": 50, "standard": 200, "full": 1000}


class Evaluation:
    """One sample seen by one encoder: what every method's explanation of it is scored against, built once and shared."""

    def __init__(self, encoder: "DualEncoder", sample: Sample) -> None:
        self.encoder = encoder
        self.sample = sample
        self._games: dict[tuple[str, str, str], SimilarityGame] = {}
        self.shared: dict[Any, Any] = {}

    @cached_property
    def pair(self) -> "Pair":
        return self.encoder.pair(self.sample.load_image(), self.sample.text)

    def game(
        self, removal: str = "mask_pixels", text_removal: str = "attention_mask", value: str = "cosine"
    ) -> "SimilarityGame":
        """Return the scoring game of these operators; its embeddings are cached across methods."""
        from benchmark.games.similarity import SimilarityGame

        key = (removal, text_removal, value)
        if key not in self._games:
            self._games[key] = SimilarityGame(self.encoder, self.pair, removal=removal, text_removal=text_removal, value=value)
        return self._games[key]

    def rng(self, stream: str) -> np.random.Generator:
        """Return a generator fixed by the sample and the stream's name: the same for every method and run."""
        from hashlib import sha256

        digest = sha256(f"{self.sample.id}|{stream}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "little"))


class Probe(ABC):
    """A change of the encoder, the text, the image or the seed, whose explanation is compared with that of the pair itself.

    The explanation of a probe is stored like any other, under a key of its own: ``name`` is added to the encoder's revision
    or to the sample's id, so a probe that is made differently needs another name. Probes are values: equal if they do the same.
    """

    changes: ClassVar[Literal["encoder", "text", "image", "seed"]]

    @property
    @abstractmethod
    def name(self) -> str:
        """What this probe does, unique among all probes."""

    def encoder(self, encoder: "DualEncoder") -> "DualEncoder":
        """Return the encoder to explain; ``UnsupportedEncoder`` says why there is none."""
        return encoder

    def text(self, text: str) -> str:
        """Return the text to explain, a function of the sample's own text alone."""
        return text

    def pair(self, evaluation: Evaluation) -> "Pair":
        """Return the pair to explain; ``evaluation`` holds the encoder and the text of this probe, and the original image."""
        return evaluation.pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """An explanation with what the harness knows beside it: the encoder's own similarity of the pair, and the cost."""

    explanation: "Explanation"
    similarity: float | None = None
    cost: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, kw_only=True)
class Protocol(ABC):
    """How explanations become scores; its fields are the settings that define the numbers."""

    uses_truth: ClassVar[bool] = False

    @property
    def probes(self) -> tuple[Probe, ...]:
        """What else is explained, by the same method, for ``compare`` to read; a protocol that reads truth has none."""
        return ()

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that ``score`` returns."""

    @abstractmethod
    def score(self, explanation: "Explanation", evaluation: Evaluation) -> dict[str, Score | str]:
        """Score one explanation; a string in place of a score is the reason why the metric does not apply to it."""

    def compare(self, explained: Explained, probes: Mapping[str, Explained], evaluation: Evaluation) -> dict[str, Score | str]:
        """Score one explanation beside those of all ``probes``, by name; a run calls this. Without probes it is ``score``."""
        del probes
        return self.score(explained.explanation, evaluation)

    @abstractmethod
    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        """Return the value that a failed explanation of this sample is given, for every metric."""

    def excluded(self, evaluation: Evaluation) -> str | None:
        """Return why this sample cannot be scored (its region lies outside the crop, say), or ``None``."""
        del evaluation
        return None


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is measured, on which data, how; anything that changes its numbers changes its ``version``."""

    id: str
    version: int
    data: str
    view: str
    protocol: Protocol
    summary: str
    tiers: Mapping[str, int] = field(default_factory=lambda: dict(TIERS))

    def __post_init__(self) -> None:
        TASKS.add(self.id, self)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(METRICS[name] for name in self.protocol.metrics)

    @property
    def definition(self) -> dict[str, Any]:
        """Return everything that defines the task's numbers; part of the content key of its scores."""
        settings = {item.name: getattr(self.protocol, item.name) for item in dataclasses.fields(self.protocol)}
        return {
            "task": self.id,
            "version": self.version,
            "data": f"{self.data}@{DATASETS[self.data].version}",
            "view": self.view,
            "protocol": type(self.protocol).__name__,
            **settings,
        }


TASKS: Registry[Task] = Registry("task")
