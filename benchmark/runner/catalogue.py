"""Fills the registries, and turns what a user names into what is run: methods with parameters, tasks by pattern."""

import ast
import dataclasses
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any

from benchmark import plugins
from benchmark.errors import InvalidInput, UnknownName
from benchmark.explainers.base import EXPLAINERS, Explainer
from benchmark.tasks.base import TASKS, Task

ALL = "all"
_METHOD = re.compile(r"(?P<name>[^\[\]=,\s]+)(?:\[(?P<parameters>[^\[\]]*)\])?")


def register() -> None:
    """Import everything that registers itself: data sets, metrics, tasks and explainers, also of installed packages."""
    for package in plugins.PACKAGES:
        import_module(f"benchmark.{package}")
    plugins.load()


def methods(text: str) -> list[Explainer]:
    """Read ``fixlip,rise[budget=512],grad_eclip[heads=one,layer=-2]``; ``all`` is every registered method.

    Parameters stand in brackets behind a method, separated by commas; values are Python literals, and a word that is
    none is a string. The order is kept, and a method that is named twice is taken once.
    """
    found: list[Explainer] = []
    for item in split(text):
        match = _METHOD.fullmatch(item)
        if match is None:
            raise InvalidInput(f"cannot read the method {item!r}; write name or name[parameter=value,parameter=value]")
        if match["name"] == ALL:
            found += [kind.configure({}) for kind in EXPLAINERS.values()]
        else:
            found.append(_method(item, match["name"], match["parameters"] or ""))
    if not found:
        raise InvalidInput(f"no method was named; known: {', '.join(sorted(EXPLAINERS))}, or {ALL}")
    return list({label(explainer): explainer for explainer in found}.values())


def label(explainer: Explainer) -> str:
    """Return a method's name in tables: its name, and in brackets the parameters that are not at their default."""
    usual = defaults(type(explainer))
    changed = {name: value for name, value in explainer.parameters.items() if name not in usual or usual[name] != value}
    inside = ",".join(f"{name}={value}" for name, value in changed.items())
    return f"{explainer.name}[{inside}]" if inside else explainer.name


def tasks(text: str) -> list[Task]:
    """Read ``scenes-pointing,phantoms-*``; a pattern stands for every task it matches, ``all`` for every task."""
    found: dict[str, Task] = {}
    for item in split(text):
        pattern = "*" if item == ALL else item
        if any(sign in pattern for sign in "*?"):
            matching = {name: task for name, task in TASKS.items() if fnmatchcase(name, pattern)}
            if not matching:
                raise UnknownName("task", item, TASKS)
            found |= matching
        else:
            found[item] = plugins.find(TASKS, item)
    if not found:
        raise InvalidInput(f"no task was named; known: {', '.join(sorted(TASKS))}, or {ALL}")
    return list(found.values())


def split(text: str | Iterable[str]) -> list[str]:
    """Split at commas and spaces outside brackets."""
    joined = text if isinstance(text, str) else ",".join(text)
    return [item for item in re.split(r"[,\s]+(?![^\[]*\])", joined) if item]


def _method(item: str, name: str, inside: str) -> Explainer:
    """Configure one method from the text in its brackets."""
    kind = plugins.find(EXPLAINERS, name)
    usual = defaults(kind)
    parameters: dict[str, Any] = {}
    for assignment in re.split(r",(?![^(]*\))", inside):
        if not assignment.strip():
            continue
        parameter, sign, value = (part.strip() for part in assignment.partition("="))
        if not sign:
            raise InvalidInput(f"cannot read the parameter {assignment!r} of {item!r}; write parameter=value")
        parameters[parameter] = _value(value, usual.get(parameter))
    return kind.configure(parameters)


def _value(text: str, usual: Any) -> Any:
    """Read a parameter like its default: a whole number for a fraction is one, a bare word for a string is that word."""
    capital = text.capitalize() if text in ("true", "false", "none") else text
    try:
        value = ast.literal_eval(capital)
    except (ValueError, SyntaxError):
        return text
    if isinstance(usual, str) and not isinstance(value, str):
        return text
    if isinstance(usual, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def defaults(kind: type[Explainer]) -> dict[str, Any]:
    """Return the parameters of a method that have a default, with it."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(kind):
        if item.default is not dataclasses.MISSING:
            found[item.name] = item.default
        elif item.default_factory is not dataclasses.MISSING:
            found[item.name] = item.default_factory()
    return found
