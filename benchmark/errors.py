"""The one family of deliberate errors; anything else is a surprise and keeps its traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class BenchmarkError(Exception):
    """Something the user can mend; the message says what was wrong, what is known and what to do."""


class UnknownName(BenchmarkError):
    """A method, task, metric, encoder, removal operator or value function that nobody registered."""

    def __init__(self, kind: str, given: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = get_close_matches(given, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"no {kind} is called {given!r}.{hint} Known: {', '.join(names)}")


class UnsupportedEncoder(BenchmarkError):
    """An encoder lacks what an explainer, a site or an operation reads; the message names the reason."""


class InvalidExplanation(BenchmarkError):
    """An explanation whose shape, values or labels cannot be right."""


class InvalidInput(BenchmarkError):
    """An image, a text or a parameter that cannot be used."""


class DataError(BenchmarkError):
    """A data set that is missing, incomplete or malformed."""


class StoreError(BenchmarkError):
    """A store that is in use, newer than this version, or cannot be written."""
