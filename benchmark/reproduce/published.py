"""``targets.csv``: numbers that were published, with how they are known. Rows may be added without a change of code."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from benchmark.errors import DataError

PROVENANCE = {
    "[code]": "read in the named repository's source",
    "[repo]": "printed in the named repository",
    "[text]": "read in the paper's own text",
    "[2nd]": "read in a summary of the paper: a plausible range, no gate",
    "[3rd]": "measured by an outside party under its own protocol: a plausible range, no gate",
    "[calc]": "derived; can be derived again",
}
GATES = frozenset({"[code]", "[repo]", "[text]", "[calc]"})
COLUMNS = ("paper", "table", "dataset", "model", "method", "metric", "value", "ci", "n", "provenance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One published number; ``ci`` and ``n`` as the source gives them, ``n`` 0 where it does not."""

    paper: str
    table: str
    dataset: str
    model: str
    method: str
    metric: str
    value: float
    ci: str
    n: int
    provenance: str

    @property
    def gates(self) -> bool:
        """Whether a result that differs is wrong; otherwise the number only says what is plausible."""
        return self.provenance in GATES


@cache
def targets() -> tuple[Target, ...]:
    """Read every target, in the order of the file."""
    return read_targets((files("benchmark.reproduce") / "targets.csv").read_text(encoding="utf-8"))


def read_targets(text: str) -> tuple[Target, ...]:
    """Read the text of a file of targets; a row that cannot be right raises ``DataError`` with its line."""
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise DataError(f"targets have the columns {', '.join(COLUMNS)}; these have {', '.join(reader.fieldnames or ())}")
    found: list[Target] = []
    for line, row in enumerate(reader, start=2):
        if row["provenance"] not in PROVENANCE:
            raise DataError(f"line {line}: provenance is one of {', '.join(PROVENANCE)}, not {row['provenance']!r}")
        try:
            value, n = float(row["value"]), int(row["n"] or 0)
        except (TypeError, ValueError) as error:
            raise DataError(f"line {line}: value and n are numbers ({error})") from error
        texts = {name: row[name] for name in COLUMNS if name not in ("value", "n")}
        found.append(Target(value=value, n=n, **texts))
    return tuple(found)
