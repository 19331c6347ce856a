"""A task: data, protocol, metrics and a version, as one frozen value that prints whole."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

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


@dataclass(frozen=True, kw_only=True)
class Protocol(ABC):
    """How explanations become scores; its fields are the settings that define the numbers."""

    uses_truth: ClassVar[bool] = False

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that ``score`` returns."""

    @abstractmethod
    def score(self, explanation: "Explanation", evaluation: Evaluation) -> dict[str, Score | str]:
        """Score one explanation; a string in place of a score is the reason why the metric does not apply to it."""

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
