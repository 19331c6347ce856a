"""What registers itself: the modules of this package, and those that installed packages name by entry point.

One that cannot be loaded is named once on stderr, with the reason and what to do; everything else works on without it.
"""

import multiprocessing
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from benchmark.errors import BenchmarkError, UnknownName
from benchmark.types import Registry

HOME = Path(__file__).parent
PACKAGES = ("data", "metrics", "tasks", "explainers")
GROUPS = ("xlip_bench.data", "xlip_bench.metrics", "xlip_bench.tasks", "xlip_bench.explainers", "xlip_bench.encoders")
RESERVED = ("embedded", "open_clip")  # names of encoders that begin so are the suite's own

ENCODERS: Registry[Callable[..., object]] = Registry("encoder plug-in")
"""Functions ``(rest, device, revision) -> DualEncoder``: ``load_encoder("<name>:<rest>")`` calls the one of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A module that could not be loaded, and why; ``names`` are those that it may have wanted to register."""

    what: str
    reason: str
    remedy: str
    names: frozenset[str]

    def __str__(self) -> str:
        return f"{self.what} was not loaded: {self.reason}; {self.remedy}"


FAILURES: list[Failure] = []
_tried: dict[EntryPoint, None] = {}


def import_modules(package: str, folders: Iterable[str], registry: Registry[Any]) -> None:
    """Import every module of one of this suite's packages; one that fails registers nothing and stops no other."""
    places = [(Path(folder), module.name) for folder in folders for module in iter_modules([folder])]
    for folder, module in places:
        error = _attempt(lambda module=module: import_module(f"{package}.{module}"), [registry], f"{package}.")
        if error is not None:
            file = folder / f"{module}.py"
            where = _where(error, [HOME, folder])
            _report(
                Failure(
                    what=_shown(file),
                    reason=_reason(error, where),
                    remedy="mend the file or take it away",
                    names=_names(module, file, where and where[0]),
                )
            )


def load() -> None:
    """Import what installed packages register; what is imported already is left alone.

    An entry point of the groups ``xlip_bench.explainers``, ``.metrics``, ``.tasks`` and ``.data`` names a module, whose
    statements register as they do in this package. One of ``xlip_bench.encoders`` names a function, see ``ENCODERS``.
    """
    waiting = [entry for entry in _entries() if entry not in _tried]
    if not waiting:
        return
    for package in PACKAGES:  # first, so that a name of the suite is never taken by a plug-in
        import_module(f"benchmark.{package}")
    _tried.update(dict.fromkeys(waiting))
    failed: set[str] = set()
    for entry in waiting:
        if entry.module in failed:
            continue
        error = _attempt(lambda entry=entry: _load_entry(entry), _registries(), entry.module.partition(".")[0])
        if error is not None:
            failed.add(entry.module)
            file = _file_of(entry.module)
            where = _where(error, [HOME, file.parent] if file else [HOME])
            name = entry.dist.name if entry.dist else entry.module
            _report(
                Failure(
                    what=f"the plug-in {_distribution(entry)} ({entry.group}: {entry.name} = {entry.value})",
                    reason=_reason(error, where),
                    remedy=f"mend it, or take it away with `pip uninstall {name}`",
                    names=_names(entry.name, file, where and where[0]),
                )
            )


def find[T](registry: Registry[T], name: str) -> T:
    """Return what is registered; for a name whose module could not be loaded the error says so, and why."""
    try:
        return registry[name]
    except UnknownName:
        require_loaded(registry.kind, name)
        raise


def require_loaded(kind: str, name: str) -> None:
    """Raise ``BenchmarkError`` if something of this name was not loaded."""
    for failure in FAILURES:
        if name in failure.names:
            raise BenchmarkError(f"no {kind} is called {name!r}, because {failure}")


def source(kind: type) -> str:
    """Return where a registered class comes from: ``built in``, or the package and its version, or else its module."""
    root = kind.__module__.partition(".")[0]
    if root == "benchmark":
        return "built in"
    return next((_distribution(entry) for entry in _entries() if entry.module.partition(".")[0] == root), kind.__module__)


@cache
def _entries() -> tuple[EntryPoint, ...]:
    found = (entry for group in GROUPS for entry in sorted(entry_points(group=group)))
    return tuple(dict.fromkeys(found))  # a package may be on the path twice


def _load_entry(entry: EntryPoint) -> None:
    if entry.group != "xlip_bench.encoders":
        import_module(entry.module)
        return
    if entry.name in RESERVED:
        raise ValueError(f"encoders called {entry.name!r} are the suite's own; give it another name")
    loader = entry.load()
    if not callable(loader):
        raise TypeError(
            f"{entry.value} is no function; name one that takes (rest, device, revision), as package.module:function"
        )
    ENCODERS.add(entry.name, loader)


def _registries() -> list[Registry[Any]]:
    from benchmark.data.base import DATASETS
    from benchmark.explainers.base import EXPLAINERS
    from benchmark.metrics.base import METRICS
    from benchmark.tasks.base import TASKS

    return [DATASETS, METRICS, TASKS, EXPLAINERS, ENCODERS]


def _attempt(load_it: Callable[[], object], registries: Sequence[Registry[Any]], modules: str) -> BaseException | None:
    """Return what was raised, after taking back what was registered and which modules of this prefix were imported."""
    registered, imported = [set(registry) for registry in registries], set(sys.modules)
    try:
        load_it()
    except (Exception, SystemExit) as error:
        for registry, before in zip(registries, registered, strict=True):
            for name in set(registry) - before:
                registry.remove(name)
        for name in set(sys.modules) - imported:
            if name.startswith(modules):
                del sys.modules[name]
        return error
    return None


def _report(failure: Failure) -> None:
    """Keep a failure, and say it unless the same reason was said before or the parent process says it."""
    said = any(failure.reason == earlier.reason for earlier in FAILURES)
    FAILURES.append(failure)
    if not said and multiprocessing.parent_process() is None:
        sys.stderr.write(f"{failure}\n")
        sys.stderr.flush()


def _where(error: BaseException, folders: Sequence[Path]) -> tuple[Path, int] | None:
    """Return file and line of the innermost module-level statement below these folders that led to an error."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return Path(error.filename), error.lineno
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if frame.name == "<module>" and frame.lineno and any(file.is_relative_to(folder) for folder in folders):
            return file, frame.lineno
    return None


def _reason(error: BaseException, where: tuple[Path, int] | None) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    what = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"{_shown(where[0])}, line {where[1]}: {what}" if where else what


def _shown(file: Path) -> str:
    return str(file.relative_to(HOME.parent) if file.is_relative_to(HOME) else file)


def _file_of(module: str) -> Path | None:
    """Return a module's file without importing anything."""
    root, *rest = module.split(".")
    spec = find_spec(root)
    if spec is None:
        return None
    if not spec.submodule_search_locations:
        return Path(spec.origin) if spec.origin else None
    inside = Path(next(iter(spec.submodule_search_locations))).joinpath(*rest)
    return inside / "__init__.py" if inside.is_dir() else inside.with_suffix(".py")


def _names(name: str, *files: Path | None) -> frozenset[str]:
    """Return a name with every quoted word of the source files: among them are the names that they register."""
    words = {name}
    for file in {file for file in files if file is not None and file.suffix == ".py" and file.is_file()}:
        words.update(re.findall(r"""["']([\w.:-]+)["']""", file.read_text(encoding="utf-8", errors="replace")))
    return frozenset(words)


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.module
