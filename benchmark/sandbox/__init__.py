"""Running code that is not ours: a process of its own, without network, files, truth or store, that hands back arrays.

>>> from benchmark.sandbox import best_confinement, sandboxed
>>> explainer = sandboxed(folder, entry="explainer.py:Mine", name="mine", confinement=best_confinement())  # doctest: +SKIP

``explainer`` is used like any other; see ``docs/sandbox.md`` for what is guarded and what is not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.sandbox.confinement import Confinement, best_confinement
    from benchmark.sandbox.explainer import Sandboxed, close_children, code_of, sandboxed
    from benchmark.sandbox.limits import Limits, SandboxError, SandboxUnavailable

__all__ = [
    "Confinement",
    "Limits",
    "SandboxError",
    "SandboxUnavailable",
    "Sandboxed",
    "best_confinement",
    "close_children",
    "code_of",
    "sandboxed",
]

_HOMES = {
    "Confinement": "confinement",
    "best_confinement": "confinement",
    "Sandboxed": "explainer",
    "close_children": "explainer",
    "code_of": "explainer",
    "sandboxed": "explainer",
    "Limits": "limits",
    "SandboxError": "limits",
    "SandboxUnavailable": "limits",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: inside the sandbox only what it needs is there, and torch is slow to load."""
    if name not in _HOMES:
        raise AttributeError(f"module 'benchmark.sandbox' has no attribute {name!r}")
    return getattr(import_module(f"benchmark.sandbox.{_HOMES[name]}"), name)
