"""What every explainer promises, tried on a submission's class. This runs where the submission runs, beside its code.

Its findings help an author. Nothing on a leaderboard rests on them, since code that sits beside them could forge them.
"""

import dataclasses
import json
import random
import sys
import time
import traceback
from collections.abc import Generator, Iterator, Mapping
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from inspect import isclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image

from benchmark.encoders import DualEncoder, Pair
from benchmark.encoders.coarse import CoarseEncoder
from benchmark.errors import BenchmarkError
from benchmark.explainers.base import Explainer, TruthReader
from benchmark.explanations import Explanation
from benchmark.submissions.encoders import SMALL
from benchmark.submissions.findings import Finding

NOTE = "findings"
"""Under what name an explanation's notes hold the findings, as JSON."""

MOST = 20
"""Findings that are handed back: an explanation's notes are bounded."""

TEXTS = ("a red star above a large blue circle", "a star")
SEED = 3
SLOW = 20.0
"""Seconds that one explanation may take in a check; a run allows what the manifest asks for."""


def contract_explainer(module_file: Path, kind: str, declared: Mapping[str, Any]) -> type[Explainer]:
    """Return an explainer that explains nothing but tries another, and hands back what it found in its notes.

    ``declared`` holds the manifest's fields; the class bears the same name, so that it passes for the submission itself.
    """

    class Contract(Explainer):
        """A submission's class under test."""

        name, version = declared["name"], declared["version"]
        yields = ("image",)

        def explain(self, encoder: DualEncoder, pair: Pair, rng: np.random.Generator) -> Explanation:
            del pair, rng
            findings = [finding.as_dict() for finding in islice(examine(module_file, kind, declared, encoder), MOST)]
            return Explanation(image=np.zeros(encoder.patch_grid), notes={NOTE: json.dumps(findings)})

    return Contract


def read_findings(explanation: Explanation) -> list[Finding]:
    """Read the findings from what such an explainer handed back."""
    return [Finding.read(item) for item in json.loads(str(explanation.notes[NOTE]))]


def examine(file: Path, kind: str, declared: Mapping[str, Any], encoder: DualEncoder) -> Iterator[Finding]:
    """Import a submission, compare it with its manifest, and try it on ``encoder`` and on the small ones."""
    found = _imported(file, kind)
    if isinstance(found, Finding):
        yield found
        return
    yield Finding("import", "ok", f"{file.name} gives {kind}")
    agreement = list(disagreements(found, declared))
    yield from agreement or [Finding("declared", "ok", f"{kind} is what submission.toml says")]
    if agreement:
        return
    explainer = found.configure({})  # its defaults are the declared values
    served = yield from _tried(
        explainer, encoder, f"{encoder.name} with {encoder.patch_grid[0]} x {encoder.patch_grid[1]} patches"
    )
    for where, build in SMALL.items():
        served |= yield from _tried(explainer, build(), where)
    if not served:
        message = "it refuses every encoder of this check, so nothing could be tried"
        yield Finding("encoders", "wrong", message, "serve the embedded encoder at least, a CLIP with a class token")


def disagreements(kind: type[Explainer], declared: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a finding for everything in which a class differs from its manifest."""
    if issubclass(kind, TruthReader):
        yield Finding("declared", "wrong", f"{kind.__name__} reads the truth", "derive it from Explainer")
        return
    for field in ("name", "version", "yields", "needs", "deterministic", "replicates"):
        given, said = getattr(kind, field, None), declared[field]
        if _plain(given) != _plain(said):
            mend = f"write the same in both; in the class: {_written(kind, field, said)}"
            yield Finding("declared", "wrong", f"{field} is {given!r} in the class and {said!r} in submission.toml", mend)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values = declared["parameters"]
    for name in sorted(fields.keys() - values.keys()):
        mend = f"add [parameters.{name}] with value, source and detail to submission.toml"
        yield Finding("declared", "wrong", f"the parameter {name} of the class is not in submission.toml", mend)
    for name in sorted(values.keys() - fields.keys()):
        mend = f"add a field {name} to the class, a frozen dataclass, or take [parameters.{name}] out"
        yield Finding("declared", "wrong", f"submission.toml has a parameter {name}, and the class has no such field", mend)
    for name in sorted(fields.keys() & values.keys()):
        default = _default(fields[name])
        if _plain(default) != _plain(values[name]):
            shown = "no default" if default is dataclasses.MISSING else repr(default)
            message = f"{name} has {shown} in the class and is {values[name]!r} in submission.toml"
            yield Finding("declared", "wrong", message, "let the class's default be the value that is run")


def promises(explainer: Explainer, encoder: DualEncoder, where: str) -> Iterator[Finding]:
    """Yield a finding for every promise that an explainer breaks on one encoder; whatever it raises is raised."""
    pairs = [encoder.pair(_picture(i), text) for i, text in enumerate(TEXTS)]
    pairs.append(encoder.pair_from_tensors(pairs[1].pixel_values, pairs[1].input_ids))
    explained: list[bytes] = []
    for pair in pairs:
        before, began = _State.of(encoder, pair), time.perf_counter()
        explanation = explainer.explain(encoder, pair, np.random.default_rng(SEED))
        seconds = time.perf_counter() - began
        if seconds > SLOW:
            message = f"one explanation took {seconds:.0f} s; a check allows {SLOW:.0f} ({where})"
            yield Finding(
                "time", "wrong", message, "take fewer samples by default, and encode in batches, as SimilarityGame does"
            )
        broken = [*before.changes(encoder, pair, where), *_misfits(explainer, explanation, encoder, pair, where)]
        yield from broken
        if broken or seconds > SLOW:
            return
        explained.append(explanation.to_bytes())
    yield from _repeats(explainer, encoder, pairs[0], explained[0], where)


def _tried(explainer: Explainer, encoder: DualEncoder, where: str) -> Generator[Finding, None, bool]:
    """Yield what trying came to on one encoder; the value is whether the encoder is served."""
    began = time.perf_counter()
    try:
        reason = cast(object, explainer.unsupported(encoder))
        broken = list(promises(explainer, encoder, where)) if reason is None else []
    except Exception as error:
        yield _raised(error, where)
        return True
    if reason is None:
        seconds = time.perf_counter() - began
        yield from broken or [Finding("encoders", "ok", f"{where}: every promise is kept ({seconds:.1f} s)")]
        return True
    if isinstance(reason, str) and len(reason.split()) > 3 and "\n" not in reason:
        yield Finding("encoders", "note", f"{where} is refused: {reason}")
    else:
        mend = 'return None, or a sentence such as "MyMethod reads a class token; this tower has none"'
        yield Finding("encoders", "wrong", f"{where} is refused with {reason!r}, which is no sentence", mend)
    return False


def _imported(file: Path, kind: str) -> "type[Explainer] | Finding":
    specification = spec_from_file_location(file.stem, file)
    if specification is None or specification.loader is None:
        return Finding("import", "wrong", f"{file.name} is no Python file", "name a file that ends in .py")
    module = module_from_spec(specification)
    sys.modules[file.stem] = module
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        return dataclasses.replace(_raised(error, f"importing {file.name}"), check="import")
    found = getattr(module, kind, None)
    if not isclass(found) or not issubclass(found, Explainer):
        mend = f"write `class {kind}(Explainer, name=..., version=...)`, or name another class as entry"
        return Finding("import", "wrong", f"{file.name} has no explainer called {kind}", mend)
    return found


def _misfits(explainer: Explainer, explanation: object, encoder: DualEncoder, pair: Pair, where: str) -> Iterator[Finding]:
    if not isinstance(explanation, Explanation):
        message = f"explain returned {type(explanation).__name__}, not an Explanation ({where})"
        yield Finding("output", "wrong", message, "return Explanation(image=...)")
        return
    try:
        explanation.check(encoder.patch_grid, pair.n_tokens)
        explanation.to_bytes()
    except BenchmarkError as error:
        mend = "take the grid from encoder.patch_grid and the number of tokens from pair.n_tokens, never from constants"
        yield Finding("output", "wrong", f"{error} ({where})", mend)
        return
    given = {name for name in ("image", "text", "cross") if getattr(explanation, name) is not None}
    given |= {"surrogate"} if explanation.players is not None else set()
    if given != set(explainer.yields):
        message = f"it declares {sorted(explainer.yields)} and gives {sorted(given)} ({where})"
        yield Finding("output", "wrong", message, "let yields say what is given; what a method does not give is None")


def _repeats(explainer: Explainer, encoder: DualEncoder, pair: Pair, first: bytes, where: str) -> Iterator[Finding]:
    again = explainer.explain(encoder, pair, np.random.default_rng(SEED)).to_bytes()
    if again != first:
        message = f"the same pair and seed gave another explanation after other pairs ({where})"
        mend = "draw from rng alone, keep nothing between calls, and change nothing in the encoder"
        yield Finding("same seed", "wrong", message, mend)
        return
    other = explainer.explain(encoder, pair, np.random.default_rng(SEED + 1)).to_bytes()
    if (other == first) != explainer.deterministic:
        if explainer.deterministic:
            message, mend = "another seed gave another explanation", "set deterministic = false in both files"
        else:
            message, mend = "another seed gave the same explanation", "set deterministic = true in both files"
        yield Finding("seed", "wrong", f"{message} ({where}), and deterministic is {explainer.deterministic}", mend)


@dataclasses.dataclass(frozen=True, slots=True)
class _State:
    """What no explanation may change."""

    weights: str
    hooks: int
    inputs: bytes
    generators: Mapping[str, bytes]

    @classmethod
    def of(cls, encoder: DualEncoder, pair: Pair) -> "_State":
        return cls(*_weights_and_hooks(encoder), _bytes(pair.pixel_values) + _bytes(pair.input_ids), _generators())

    def changes(self, encoder: DualEncoder, pair: Pair, where: str) -> Iterator[Finding]:
        now = _State.of(encoder, pair)
        traces = [tower.traces for tower in (encoder._image, encoder._text) if tower is not None]  # pyright: ignore[reportPrivateUsage]  # the properties raise for a tower that is not there
        held = any(weight.grad is not None for weight in _model(encoder).parameters())
        changed = now.inputs != self.inputs or pair.pixel_values.requires_grad
        for is_broken, message, mend in (
            (
                now.weights != self.weights,
                "it changes the encoder's weights",
                "change steps: encoder.trace(change={site: function})",
            ),
            (
                now.hooks != self.hooks,
                "it leaves hooks on the encoder",
                "read sites in `with encoder.trace(site) as captured:`",
            ),
            (any(traces), "it leaves a trace open", "use encoder.trace in a with block"),
            (held, "it leaves gradients on the encoder's weights", "use torch.autograd.grad(value, inputs), not backward()"),
            (changed, "it changes the pair", "work on pair.pixel_values.clone()"),
            (not torch.is_grad_enabled(), "it leaves gradients switched off", "use torch.no_grad() in a with block"),
        ):
            if is_broken:
                yield Finding("untouched", "wrong", f"{message} ({where})", mend)
        for name, state in self.generators.items():
            if now.generators[name] != state:
                message = f"it draws from the global generator of {name} ({where})"
                yield Finding("generators", "wrong", message, "draw from rng; torch.from_numpy(rng.random(...)) gives a tensor")


def _weights_and_hooks(encoder: DualEncoder) -> tuple[str, int]:
    model, digest = _model(encoder), sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + _bytes(tensor))
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return digest.hexdigest(), sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def _model(encoder: DualEncoder) -> torch.nn.Module:
    fine: Any = encoder.fine if isinstance(encoder, CoarseEncoder) else encoder  # an adapter's own model is of any type
    return fine.model


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().numpy().tobytes()


def _generators() -> dict[str, bytes]:
    numpy_state = np.random.get_state()  # noqa: NPY002  # what is looked at
    return {
        "numpy": repr(numpy_state).encode() + cast(Any, numpy_state)[1].tobytes(),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "random": repr(random.getstate()).encode(),
    }


def _raised(error: Exception, where: str) -> Finding:
    """Say what stopped a submission's code, and at which of its lines."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "benchmark" not in Path(frame.filename).parts]
    place = f" at {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    text = str(error).strip().splitlines() or ["without a message"]
    message = f"{type(error).__name__}{place}: {text[0][:200]} ({where})"
    if isinstance(error, ImportError):
        mend = "import what the suite installs or what requirements name, and install the latter: pip install ..."
    elif "must be finite" in text[0]:
        mend = "look for a division by zero or a logarithm of zero; a constant input must give finite scores too"
    elif isinstance(error, BenchmarkError):
        mend = "let unsupported(encoder) return a sentence if this encoder cannot be served"
    else:
        mend = "mend the line, or let unsupported(encoder) return a sentence if this encoder cannot be served"
    return Finding("output" if isinstance(error, BenchmarkError) else "explain", "wrong", message, mend)


def _default(field: "dataclasses.Field[Any]") -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _plain(value: Any) -> Any:
    """Return a value with lists for tuples, as they are told apart by nobody here; 1 and True and 1.0 are told apart."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else (type(value).__name__, value)


def _written(kind: type[Explainer], field: str, said: Any) -> str:
    """Return how a class says one of its fields."""
    if field in ("name", "version"):
        return f"class {kind.__name__}(Explainer, {field}={said!r}, ...)"
    return f"{field} = {tuple(said) if isinstance(said, list) else said!r}"


def _picture(seed: int) -> Image.Image:
    """Return colour noise with one bright square, wider than high."""
    pixels = np.random.default_rng(seed).integers(0, 160, (80, 96, 3), dtype=np.uint8)
    pixels[16:48, 24:56] = (250, 40, 40)
    return Image.fromarray(pixels)
