"""The submission's side: load its class, explain what is sent, hand back arrays. Runs inside the sandbox, trusted by nobody."""

import resource
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

import benchmark
from benchmark.errors import InvalidExplanation, InvalidInput, UnsupportedEncoder
from benchmark.explanations import Explanation
from benchmark.sandbox.remote import MOST_BYTES, RemoteEncoder, RemotePair, play_remotely
from benchmark.sandbox.wire import Message, receive, send

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair
    from benchmark.explainers.base import Explainer

MOST_REASON = 1000
"""Characters of an exception's message that are passed on."""
OPEN_FILES = 256


def main(fd: int, folder: str) -> None:
    """Serve one submission until the connection ends."""
    connection = socket.socket(fileno=fd)
    send(connection, Message("hello"))
    start = receive(connection, 0).fields
    _limit(start)
    try:
        explainer = _load(Path(folder), start)
        given = None if start["encoder"] is None else GivenEncoder(start["encoder"])
    except BaseException as error:
        send(connection, _raised(error, folder))
        return
    send(connection, Message("ready"))
    while True:
        try:
            request = receive(connection, MOST_BYTES)
        except EOFError:
            return
        try:
            answer = _explain(explainer, given, connection, request)
        except BaseException as error:  # SystemExit too: a submission does not decide when it is done
            answer = _raised(error, folder)
        send(connection, answer)


def _limit(start: Mapping[str, Any]) -> None:
    """Set what the system itself enforces; a backstop behind the harness, which sees the whole tree."""
    file_bytes, data_bytes = start["scratch_mb"] * 2**20, start["data_mb"] * 2**20
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_DATA: data_bytes,
    }
    for kind, wanted in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))


def _load(folder: Path, start: Mapping[str, Any]) -> "Explainer":
    """Import the entry and build its class with the declared parameters."""
    if start["encoder"] is None:
        _only_base()
        play_remotely()
    file, _, name = start["entry"].partition(":")
    sys.path.append(str(folder))
    module_name = f"submission_{Path(file).stem}"
    spec = spec_from_file_location(module_name, folder / file)
    if spec is None or spec.loader is None or not (folder / file).is_file():
        raise InvalidInput(f"the submission has no file {file}")
    module = module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    kind = getattr(module, name, None)
    if not isinstance(kind, type) or not hasattr(kind, "explain"):
        raise InvalidInput(f"{file} holds no class {name} with a method explain")
    if "torch" in sys.modules:
        _all_methods()
    configure: Callable[..., Any] = getattr(kind, "configure", lambda parameters: kind(**parameters))  # pyright: ignore[reportUnknownLambdaType]
    return configure(start["parameters"])


def _only_base() -> None:
    """Let ``benchmark.explainers`` be imported without every method in it, which would load torch."""
    package = ModuleType("benchmark.explainers")
    package.__path__ = [str(Path(benchmark.__file__ or "").parent / "explainers")]
    sys.modules[package.__name__] = package
    base = import_module("benchmark.explainers.base")
    for name in ("EXPLAINERS", "Explainer", "TruthReader"):
        setattr(package, name, getattr(base, name))
    setattr(benchmark, "explainers", package)  # noqa: B010  # the package has no such name for a type checker


def _all_methods() -> None:
    """Register the suite's methods, for a submission that builds on one by name."""
    package = sys.modules.get("benchmark.explainers")
    if package is not None:
        for item in iter_modules(package.__path__):
            import_module(f"benchmark.explainers.{item.name}")


class GivenEncoder:
    """The submission's own copy of the encoder, for methods that look inside."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        from benchmark.encoders import load_encoder

        self._base = load_encoder(source["name"], device=source["device"], revision=source["revision"])
        self._base.batch_size = source["batch_size"]
        self._changed: dict[str, DualEncoder] = {}

    def at(self, revision: str | None) -> "DualEncoder":
        """Return the encoder at the harness's revision, which may name a change of weights (``+part:depth``)."""
        base, _, change = (revision or "").partition("+")
        if not change:
            return self._base
        if change not in self._changed:
            self._changed[change] = self._make(base, change)
        return self._changed[change]

    def _make(self, base: str, change: str) -> "DualEncoder":
        from benchmark.encoders.coarse import CoarseEncoder
        from benchmark.encoders.randomised import randomised

        part, _, depth = change.partition(":")
        if part in ("image", "text", "both") and depth in ("projection", "last", "half", "all"):
            return randomised(self._base, part, depth)
        rows, _, columns = change.partition("x")
        if rows.isdigit() and columns.isdigit():
            return CoarseEncoder(self._base, (int(rows), int(columns)))
        raise UnsupportedEncoder(f"the change {change!r} of {self._base.name}@{base} cannot be made in a process of its own")


def fingerprint(encoder: "DualEncoder") -> tuple[int, ...]:
    """Return a sum over the bits of every weight and buffer; empty where the model cannot be read as a module."""
    import torch

    model: Any = getattr(encoder, "model", None)
    if not isinstance(model, torch.nn.Module):
        return ()
    words = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tuple(
        int(part.detach().contiguous().view(-1).view(words[part.element_size()]).sum(dtype=torch.int64))
        for part in (*model.parameters(), *model.buffers())
        if part.numel()
    )


def _explain(explainer: Any, given: GivenEncoder | None, connection: socket.socket, request: Message) -> Message:
    rng = np.random.default_rng()
    rng.bit_generator.state = request.fields["rng"]
    pair = RemotePair(request)
    if given is None:
        return _answer(explainer, RemoteEncoder(connection, request.fields["encoder"]), pair, rng)
    encoder = given.at(request.fields["encoder"]["revision"])
    before, weights = encoder.costs.copy(), fingerprint(encoder)
    own = _pair(encoder, pair)
    answer = _answer(explainer, encoder, own, rng)
    costs = encoder.costs - before
    counts = {"image_forwards": costs.image_forwards, "text_forwards": costs.text_forwards, "backwards": costs.backwards}
    intact = fingerprint(encoder) == weights
    check = {"intact": intact, "similarity_of_encoder": encoder.similarity(own), "counts": counts}
    return Message(answer.kind, {**answer.fields, **check}, answer.arrays)


def _answer(explainer: Any, encoder: Any, pair: Any, rng: np.random.Generator) -> Message:
    reason = explainer.unsupported(encoder) if hasattr(explainer, "unsupported") else None
    if reason:
        raise UnsupportedEncoder(reason)
    explanation = explainer.explain(encoder, pair, rng)
    if not isinstance(explanation, Explanation):
        raise InvalidExplanation(f"it returned {type(explanation).__name__}, not an Explanation")
    fields = {"index": explanation.index, "similarity": explanation.similarity, "notes": dict(explanation.notes)}
    return Message("explanation", fields, explanation.arrays())


def _pair(encoder: "DualEncoder", pair: RemotePair) -> "Pair":
    from benchmark.encoders.base import Pair

    return Pair(
        pixel_values=pair.pixel_values.to(encoder.device),
        input_ids=pair.input_ids.to(encoder.device),
        token_positions=pair.token_positions,
        tokens=pair.tokens,
        text=pair.text,
        offsets=pair.offsets,
        geometry=pair.geometry,
        frame=pair.frame,
    )


def _raised(error: BaseException, folder: str) -> Message:
    """Return an exception as its class, the start of its message, and where in the submission it arose."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(folder)]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return Message("raised", {"class": type(error).__name__[:100], "reason": f"{str(error)[:MOST_REASON]}{where}"})
