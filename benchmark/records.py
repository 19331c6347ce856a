"""What a run leaves behind: content keys and the rows of the store. Knows no task, no explainer and no torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

ExplanationStatus = Literal["ok", "unsupported", "failed"]
ScoreStatus = Literal["ok", "degenerate", "unsupported", "failed", "excluded"]

KEY_LENGTH = 32


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, arrays and tuples as lists, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def content_key(value: Any) -> str:
    """Return a content key: the first 128 bits of the SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:KEY_LENGTH]


def text_hash(text: str) -> str:
    """Return the key of a text, which stands for it in the identity of a sample."""
    return content_key({"text": text})


def score_key(unit: str, task_hash: str, metric: str) -> str:
    """Return the key of one metric of one explanation under one definition of a task."""
    return content_key({"unit": unit, "task": task_hash, "metric": metric})


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} ({type(value).__name__}) has no canonical form; keys are made of plain values")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What the rows of one run share; names no host and no user."""

    run_id: str
    command: str
    commit: str | None = None
    dirty: bool | None = None
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    device: str = ""
    seeds: tuple[int, ...] = (0,)
    hardware: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRecord:
    """One image-text pair that was explained, for joins; the pixels stay in the data set."""

    data: str
    data_version: str
    sample_id: str
    text_hash: str
    text: str
    cluster: str
    strata: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one explanation took: counted by the harness, never reported by the method."""

    image_forwards: float = 0.0
    text_forwards: float = 0.0
    backwards: float = 0.0
    seconds: float = 0.0
    peak_mb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which encoder, explained by which method with which parameters and seed; ``label`` is the method's name in tables."""

    encoder: str
    revision: str
    method: str
    method_version: int
    parameters: Mapping[str, Any]
    label: str
    seed: int

    def unit_key(self, sample: Mapping[str, str]) -> str:
        """Return the key of this explanation of a sample: all that can change it, nothing that cannot (device, batch size)."""
        return content_key(
            {
                "encoder": f"{self.encoder}@{self.revision}",
                "method": f"{self.method}@{self.method_version}",
                "parameters": self.parameters,
                "sample": sample,
                "seed": self.seed,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplanationRecord:
    """One unit of work: an explanation, or why there is none (``reason`` is set exactly when ``status`` is not ok)."""

    unit_key: str
    origin: Origin
    sample: SampleRecord
    status: ExplanationStatus
    error_class: str | None = None
    reason: str | None = None
    payload: bytes | None = None
    similarity: float | None = None
    explained_similarity: float | None = None
    cost: Cost = field(default_factory=Cost)
    device: str = ""

    @property
    def payload_hash(self) -> str | None:
        return None if self.payload is None else hashlib.sha256(self.payload).hexdigest()[:KEY_LENGTH]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRecord:
    """One metric of one explanation, or why there is none.

    ``value`` is the chance value when the status is degenerate or failed, and ``None`` when it is unsupported (says
    nothing about this method) or excluded (says nothing about any method).
    """

    score_key: str
    unit_key: str
    task: str
    task_version: int
    task_hash: str
    metric: str
    position: int
    status: ScoreStatus
    value: float | None = None
    chance: float | None = None
    reason: str | None = None
    flags: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitResult:
    """All that one unit adds to the store, written in one transaction; ``explanation`` is ``None`` when it is there already.

    ``probes`` are explanations made beside it, of changed encoders or samples, that its scores were compared with.
    """

    unit_key: str
    origin: Origin
    sample: SampleRecord
    explanation: ExplanationRecord | None
    scores: tuple[ScoreRecord, ...]
    probes: tuple[ExplanationRecord, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether an explanation or a score failed; an unsupported or excluded one did not."""
        explained = self.explanation is not None and self.explanation.status == "failed"
        return explained or any(score.status == "failed" for score in self.scores)
