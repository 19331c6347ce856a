"""A planted encoder, data set, tasks and methods, for tests of what runs and stores them. No torch is loaded."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from benchmark.data.base import DATASETS, DataSet, Phrase, Region, Sample
from benchmark.errors import InvalidInput, UnknownName
from benchmark.explainers.base import EXPLAINERS, Explainer, TruthReader
from benchmark.explanations import Explanation
from benchmark.metrics.base import METRICS, Metric, Score
from benchmark.tasks.base import TASKS, Evaluation, Protocol, Task

GRID = (2, 3)
N_SAMPLES = 40


@dataclass
class FakeCosts:
    image_forwards: int = 0
    text_forwards: int = 0
    backwards: int = 0


@dataclass(frozen=True)
class FakePair:
    text: str
    brightness: float

    @property
    def n_tokens(self) -> int:
        return len(self.text.split())


class FakeEncoder:
    """Similarity is the image's brightness; counts its passes like a real one."""

    def __init__(self, name: str = "fake", revision: str | None = "r1", device: str = "cpu") -> None:
        self.name, self.revision, self.device = name, revision, device
        self.precision = "float32"
        self.patch_grid, self.n_patches = GRID, GRID[0] * GRID[1]
        self.costs = FakeCosts()

    def pair(self, image: Image.Image, text: str) -> FakePair:
        if not text.split():
            raise InvalidInput(f"the text {text!r} has no content tokens")
        return FakePair(text, float(np.asarray(image).mean()) / 255)

    def similarity(self, pair: FakePair) -> float:
        self.costs.image_forwards += 1
        self.costs.text_forwards += 1
        return pair.brightness


def load_fake_encoder(name: str, device: str = "auto", revision: str | None = None) -> FakeEncoder:
    if name not in ("fake", "other"):
        raise UnknownName("model", name, ("fake", "other"))
    return FakeEncoder(name, revision or "r1")


class FakeData(DataSet):
    name = "fake"
    version = "1"
    synthetic = True

    def samples(self, view: str, limit: int | None = None) -> Sequence[Sample]:
        return [self._sample(i) for i in range(N_SAMPLES if limit is None else min(limit, N_SAMPLES))]

    def _sample(self, i: int) -> Sample:
        image: Image.Image | Path = Image.new("RGB", (6, 4), (5 * i % 256,) * 3)
        if self.data_dir is not None and i == 1:
            image = self.data_dir / "unreadable.png"
        region = Region(boxes=np.array([[0.0, 0.0, 2.0, 2.0]]))
        text = "" if self.data_dir is not None and i == 2 else f"sample {i}"
        return Sample(
            id=f"s{i:03}", image=image, text=text, cluster=f"image{i // 2}", phrases=(Phrase(span=(0, 6), region=region),)
        )


@dataclass(frozen=True, kw_only=True)
class FakeProtocol(Protocol):
    """Scores the mean of the image map; sample ``left_out`` cannot be scored, text-only explanations do not apply."""

    more: ClassVar[tuple[str, ...]] = ()
    left_out: str = ""

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("fake_mean", "fake_loss", *self.more)

    def score(self, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score | str]:
        evaluation.encoder.similarity(evaluation.pair)  # a scoring pass, to be billed to nobody
        if explanation.image is None:
            return dict.fromkeys(self.metrics, "there is no image map")
        mean = float(explanation.image.mean())
        degenerate = bool(np.ptp(explanation.image) == 0)
        values = {"fake_mean": mean, "fake_loss": 1 - mean}
        return {
            name: Score(
                value=0.5 if degenerate else values.get(name, mean), chance=0.5, degenerate=degenerate, flags={"tie": 0.1}
            )
            for name in self.metrics
        }

    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        return dict.fromkeys(self.metrics, 0.5)

    def excluded(self, evaluation: Evaluation) -> str | None:
        return "its region lies outside" if evaluation.sample.id == self.left_out else None


@dataclass(frozen=True, kw_only=True)
class TruthProtocol(FakeProtocol):
    uses_truth = True


class FakeNoise(Explainer, name="fake_noise", version=1):
    """Uniform noise."""

    yields = ("image",)
    deterministic = False

    def explain(self, encoder, pair, rng) -> Explanation:
        encoder.similarity(pair)
        return Explanation(image=rng.random(GRID), similarity=pair.brightness)


@dataclass(frozen=True, kw_only=True)
class FakeGood(Explainer, name="fake_good", version=1):
    """Noise, lifted."""

    yields = ("image",)
    lift: float = 0.5

    def estimate_forwards(self, n_patches: int, n_tokens: int) -> int:
        return n_patches + n_tokens

    def explain(self, encoder, pair, rng) -> Explanation:
        print("what a method prints is no result")  # noqa: T201  # it must not reach stdout
        return Explanation(image=self.lift + rng.random(GRID), similarity=pair.brightness)


@dataclass(frozen=True, kw_only=True)
class FakeSlow(Explainer, name="fake_slow", version=1):
    """Noise that takes its time."""

    yields = ("image",)
    seconds: float = 0.02

    def explain(self, encoder, pair, rng) -> Explanation:
        time.sleep(self.seconds)
        return Explanation(image=rng.random(GRID))


class FakeFlat(Explainer, name="fake_flat", version=1):
    """The same everywhere."""

    yields = ("image",)

    def explain(self, encoder, pair, rng) -> Explanation:
        return Explanation(image=np.ones(GRID))


class FakeText(Explainer, name="fake_text", version=1):
    """Scores for tokens alone."""

    yields = ("text",)

    def explain(self, encoder, pair, rng) -> Explanation:
        return Explanation(text=np.arange(float(pair.n_tokens)))


@dataclass(frozen=True, kw_only=True)
class FakeBroken(Explainer, name="fake_broken", version=1):
    """Goes wrong on some samples, in the way it is told to."""

    yields = ("image",)
    how: str = "raises"

    def explain(self, encoder, pair, rng) -> Explanation:
        if not pair.text.endswith("3"):
            return Explanation(image=rng.random(GRID))
        if self.how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "hangs":
            time.sleep(3600)
        if self.how == "memory":
            raise MemoryError
        if self.how == "nan":
            return Explanation(image=np.full(GRID, np.nan))
        if self.how == "shape":
            return Explanation(image=np.ones((5, 5)))
        if self.how == "notes":
            return Explanation(image=np.ones(GRID), notes={"object": object()})
        if self.how == "none":
            return None  # type: ignore[return-value]
        raise ZeroDivisionError("three is too much\nfor this method")


@dataclass(frozen=True, kw_only=True)
class FakeBatch(Explainer, name="fake_batch", version=1):
    """Noise for several pairs at once; goes wrong like ``FakeBroken``. ``asked`` holds how many pairs came together."""

    asked: ClassVar[list[int]] = []
    yields = ("image",)
    shares_passes = True
    how: str = ""

    def explain(self, encoder, pair, rng) -> Explanation:
        encoder.similarity(pair)
        return FakeBroken(how=self.how).explain(encoder, pair, rng) if self.how else Explanation(image=rng.random(GRID))

    def explain_pairs(self, encoder, pairs, rngs) -> list[Explanation]:
        self.asked.append(len(pairs))
        return super().explain_pairs(encoder, pairs, rngs)


class FakeUnfit(Explainer, name="fake_unfit", version=1):
    """Serves no encoder."""

    yields = ("image",)

    def unsupported(self, encoder) -> str | None:
        return "needs attention weights; this encoder has none"

    def explain(self, encoder, pair, rng) -> Explanation:
        raise AssertionError("never asked")


class FakeOracle(TruthReader, name="fake_oracle", version=1):
    """Knows."""

    yields = ("image",)

    def explain_sample(self, encoder, pair, sample: Sample) -> Explanation:
        return Explanation(image=np.full(GRID, float(len(sample.phrases))) + np.arange(6.0).reshape(GRID) / 100)


def metric(name: str, better: str = "higher") -> None:
    if name not in METRICS:
        Metric(
            name=name,
            unit="fake",
            better=better,  # type: ignore[arg-type]
            low=0.0,
            high=1.0,
            track="localisation",
            summary="the mean of the map",
            source="here",
            chance="0.5",
        )


metric("fake_mean")
metric("fake_loss", "lower")
FAKE_TASK = Task(
    id="fake-mean", version=1, data="fake", view="captions", protocol=FakeProtocol(), summary="The mean of the map."
)
FAKE_TRUTH = Task(
    id="fake-truth",
    version=1,
    data="fake",
    view="captions",
    protocol=TruthProtocol(left_out="s001"),
    summary="The same, with truth.",
)


def _take_out() -> list[tuple[dict[str, Any], str, Any]]:
    """Take the fakes out of the registries, where tests of everything registered would meet them."""
    found: list[tuple[dict[str, Any], str, Any]] = []
    for registry in (DATASETS, EXPLAINERS, METRICS, TASKS):
        items: dict[str, Any] = registry._items
        found += [(items, name, items.pop(name)) for name in [name for name in items if name.startswith("fake")]]
    return found


_FAKES = _take_out()


def plant() -> None:
    """Register the fakes."""
    for items, name, item in _FAKES:
        items[name] = item


@pytest.fixture
def planted() -> Iterator[None]:
    """The fakes are registered while a test runs."""
    plant()
    yield
    _take_out()


@dataclass(frozen=True)
class FakeSource:
    """Stands in for ``EncoderSource``."""

    name: str = "fake"
    device: str = "cpu"

    def load(self) -> FakeEncoder:
        return FakeEncoder(self.name)


def start(*arguments: str, publish_seconds: float = 5.0) -> subprocess.Popen[str]:
    """Start ``benchmark`` with the fakes in a process of its own."""
    folder = Path(__file__).parent
    environment = {
        **os.environ,
        "PYTHONPATH": f"{folder.parent}{os.pathsep}{folder}",
        "FAKE_PUBLISH_SECONDS": str(publish_seconds),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(folder / "fake_command.py"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def call(*arguments: str) -> tuple[int, str, str]:
    """Run ``benchmark`` with the fakes to its end: exit code, stdout, stderr."""
    with start(*arguments) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err
