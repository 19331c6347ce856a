"""An explainer whose code runs elsewhere: declared here, executed in a confined process of its own, believed in nothing."""

import atexit
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from benchmark.errors import InvalidExplanation, InvalidInput, UnsupportedEncoder
from benchmark.explainers.base import Explainer, Yields
from benchmark.explanations import Explanation
from benchmark.records import canonical
from benchmark.runner.encoders import EncoderSource
from benchmark.runner.measure import elsewhere
from benchmark.sandbox.confinement import Confinement, best_confinement
from benchmark.sandbox.limits import (
    ChangedWeights,
    GivenUp,
    Limits,
    ProtocolError,
    SandboxError,
    StartFailed,
    SubmissionError,
)
from benchmark.sandbox.process import Process, nothing_to_ask
from benchmark.sandbox.serving import Desk, encoder_fields, pair_message, read_explanation
from benchmark.sandbox.watch import harmless
from benchmark.sandbox.wire import Message

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

CODE = "code"
"""The parameter that stands for a submission's files: it makes a result's key change with them, and no label shows it."""
SAME_SIMILARITY = 1e-3
COUNTED_THERE = "by the submission's own process"
MOST_REASON = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is declared about strangers' code, and how it is run. ``code`` is the hash of its files."""

    folder: Path
    entry: str
    name: str
    version: int
    defaults: Mapping[str, Any]
    yields: tuple[Yields, ...]
    needs: tuple[str, ...]
    deterministic: bool
    replicates: int
    baseline: bool
    paper: str
    bibtex: str
    published: Mapping[str, str]
    differs: str
    code: str
    source: EncoderSource | None
    limits: Limits
    confinement: Confinement


@dataclass(frozen=True, kw_only=True)
class Sandboxed(Explainer):
    """An explainer that hands every pair to a process in a sandbox; in no registry. See ``sandboxed``."""

    submission: ClassVar[Submission]

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        values = {name: value for name, value in self.parameters.items() if name != CODE}
        key = canonical([str(self.submission.folder), self.submission.code, values, repr(self.submission)])
        if key not in _KEEPERS:
            _KEEPERS[key] = _Keeper(self.submission, values)
        return _KEEPERS[key].explain(encoder, pair, rng)

    def for_source(self, source: EncoderSource) -> "Sandboxed":
        """Return the same explainer for another encoder, which it loads itself if it has to look inside."""
        return _build(replace(self.submission, source=source), self.parameters)

    def __reduce__(self) -> tuple[Callable[..., "Sandboxed"], tuple[Submission, dict[str, Any]]]:
        return _build, (self.submission, self.parameters)


def sandboxed(
    folder: Path | str,
    *,
    entry: str,
    name: str,
    version: int = 1,
    parameters: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    yields: tuple[Yields, ...] = ("image",),
    needs: tuple[str, ...] = (),
    deterministic: bool = True,
    replicates: int = 1,
    baseline: bool = False,
    paper: str = "",
    bibtex: str = "",
    published: Mapping[str, str] | None = None,
    differs: str = "",
    encoder_source: EncoderSource | None = None,
    limits: Limits | None = None,
    confinement: Confinement | None = None,
) -> Sandboxed:
    """Return an explainer that runs the class ``entry`` (``"explainer.py:Mine"``) of ``folder`` in a sandbox.

    Nothing of the folder is imported here. ``defaults`` are the declared parameters (by default ``parameters``), of which a
    label shows those that differ. Without ``needs`` the submission is a black box: it asks for embeddings, which are made and
    counted here. With ``needs`` it loads ``encoder_source`` itself. A result's key covers a hash of the folder's files.
    ``confinement`` is by default the best there is; without any, ``SandboxUnavailable`` says what to do.
    """
    root = Path(folder).resolve()
    file, sign, kind = entry.partition(":")
    if not sign or not kind.isidentifier() or Path(file).name != file or not (root / file).is_file():
        raise InvalidInput(f"the entry {entry!r} is no file of {root} and a class in it; write explainer.py:ClassName")
    usual = dict(parameters or {}) if defaults is None else dict(defaults)
    unknown = sorted(set(parameters or {}) - set(usual))
    if unknown:
        raise InvalidInput(f"{name} has no parameter {unknown[0]!r}; it takes: {', '.join(sorted(usual)) or 'none'}")
    taken = sorted(parameter for parameter in usual if parameter == CODE or hasattr(Sandboxed, parameter))
    if taken:
        raise InvalidInput(f"{name} cannot have a parameter {taken[0]!r}: the name is taken by the suite")
    submission = Submission(
        folder=root,
        entry=entry,
        name=name,
        version=version,
        defaults=usual,
        yields=tuple(yields),
        needs=tuple(needs),
        deterministic=deterministic,
        replicates=replicates,
        baseline=baseline,
        paper=paper,
        bibtex=bibtex,
        published=dict(published or {}),
        differs=differs,
        code=code_of(root),
        source=encoder_source,
        limits=limits or Limits(),
        confinement=confinement or best_confinement(),
    )
    return _build(submission, dict(parameters or {}))


def code_of(folder: Path) -> str:
    """Return the hash of all that a submission can read of its own: names and contents, without compiled files."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if "__pycache__" in name or not (path.is_file() or path.is_symlink()):
            continue
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        total.update(f"{len(name)} {name} {path.is_symlink()} {len(content)} ".encode())
        total.update(content)
    return total.hexdigest()[:16]


def _build(submission: Submission, parameters: Mapping[str, Any]) -> Sandboxed:
    """Make the class of a submission, with its parameters as fields, and one instance of it."""
    declared = {**submission.defaults, CODE: submission.code}
    fields = [(name, Any, _field(value)) for name, value in declared.items()]
    made = make_dataclass("Sandboxed", fields, bases=(Sandboxed,), frozen=True, kw_only=True)
    kind = cast("type[Sandboxed]", made)
    kind.submission = submission
    for name in ("name", "version", "yields", "needs", "deterministic", "replicates", "baseline", "paper", "bibtex"):
        setattr(kind, name, getattr(submission, name))
    kind.published, kind.differs = submission.published, submission.differs
    return kind.configure(parameters)


def _field(value: Any) -> Any:
    if isinstance(value, list | dict):
        return field(default_factory=lambda: type(value)(value))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    return field(default=value)


class _Keeper:
    """One submission's process in this process of ours: started when it is needed, anew when it died, not for ever."""

    def __init__(self, submission: Submission, parameters: Mapping[str, Any]) -> None:
        self._submission = submission
        self._parameters = parameters
        self._process: Process | None = None
        self._deaths = 0
        self._last = ""

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        submission = self._submission
        if self._deaths >= submission.limits.deaths:
            raise GivenUp(
                f"{submission.name} died {self._deaths} times in a row and is not tried again; the last time: {self._last}"
            )
        try:
            message = self._explained(encoder, pair, rng)
        except (SandboxError, OSError) as error:
            self._deaths += 1
            self._last = f"{type(error).__name__}: {error}"
            self.end()
            raise
        self._deaths = 0
        if message.kind == "raised":
            raise _error(message)
        explanation = read_explanation(message, encoder.patch_grid, pair.n_tokens)
        if submission.needs:
            return replace(explanation, notes={**explanation.notes, "passes_counted": COUNTED_THERE})
        return explanation

    def end(self) -> None:
        """Kill the process, if there is one."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def _explained(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Message:
        """Return the process's answer, checked as far as it concerns the encoder; what it took is billed."""
        submission = self._submission
        began = time.perf_counter()
        process = self._started()
        starting = time.perf_counter() - began
        fields, arrays = pair_message(pair)
        fields |= {"encoder": encoder_fields(encoder), "rng": rng.bit_generator.state}
        process.watch.begin()
        try:
            message = process.ask(
                "explain",
                fields,
                arrays,
                answer=nothing_to_ask if submission.needs else Desk(encoder, pair).answer,
                ends=("explanation", "raised"),
                seconds=submission.limits.seconds_per_unit,
                what="the explanation",
            )
        finally:
            elsewhere(megabytes=process.watch.taken_mb, seconds_to_start=starting)
        if submission.needs and "counts" in message.fields:
            _bill(encoder, message.fields["counts"])
            self._check(encoder, pair, message.fields)
        return message

    def _check(self, encoder: "DualEncoder", pair: "Pair", fields: Mapping[str, Any]) -> None:
        """Raise unless the submission's copy of the encoder is the encoder; the pass it takes is billed to nobody."""
        counted = encoder.costs.copy()
        ours, theirs = encoder.similarity(pair), fields.get("similarity_of_encoder")
        for name in ("image_forwards", "text_forwards", "backwards"):
            setattr(encoder.costs, name, getattr(counted, name))
        if fields.get("intact") is not True:
            raise ChangedWeights(f"{self._submission.name} changed the weights of its copy of {encoder.name}")
        if not isinstance(theirs, float) or not abs(ours - theirs) <= SAME_SIMILARITY:
            raise ChangedWeights(
                f"{self._submission.name} explained another encoder: the pair's similarity is {ours:.4f}, in its copy of "
                f"{encoder.name} it is {harmless(str(theirs))[:20]}"
            )

    def _started(self) -> Process:
        if self._process is not None and self._process.is_alive:
            return self._process
        self.end()
        submission, limits = self._submission, self._submission.limits
        source = submission.source if submission.needs else None
        if submission.needs and source is None:
            raise InvalidInput(
                f"{submission.name} looks inside the encoder (needs: {', '.join(submission.needs)}); say which it is"
            )
        self._process = Process(
            submission.folder,
            limits,
            submission.confinement,
            encoder=source and source.name,
            accelerator=source is not None and source.device != "cpu",
        )
        start = {
            "entry": submission.entry,
            "parameters": dict(self._parameters),
            "encoder": source and {name: getattr(source, name) for name in ("name", "device", "revision", "batch_size")},
            "scratch_mb": limits.scratch_mb,
            "data_mb": 2 * limits.memory_mb + 2048,
        }
        message = self._process.ask(
            "start", start, {}, answer=nothing_to_ask, ends=("ready", "raised"), seconds=limits.start_seconds, what="the start"
        )
        if message.kind == "raised":
            raise StartFailed(f"{submission.name} could not be loaded: {_error(message)}")
        return self._process


def _bill(encoder: "DualEncoder", counts: Any) -> None:
    """Add passes that were counted in the submission's process."""
    for name in ("image_forwards", "text_forwards", "backwards"):
        value = cast("dict[str, Any]", counts).get(name) if isinstance(counts, dict) else None
        if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise ProtocolError("the submission's process counted passes that cannot be")
        setattr(encoder.costs, name, getattr(encoder.costs, name) + value)


def _error(message: Message) -> Exception:
    """Return an exception of the submission's as one of ours; of its class only the name is known."""
    kind, reason = (harmless(str(message.fields.get(name)))[:MOST_REASON] for name in ("class", "reason"))
    if kind in ("InvalidExplanation", "UnsupportedEncoder"):
        return InvalidExplanation(reason) if kind == "InvalidExplanation" else UnsupportedEncoder(reason)
    return SubmissionError(f"{kind}: {reason}")


_KEEPERS: dict[str, _Keeper] = {}


def close_children() -> None:
    """End every submission's process of this process of ours, and forget how often each died."""
    for keeper in _KEEPERS.values():
        keeper.end()
    _KEEPERS.clear()


atexit.register(close_children)
