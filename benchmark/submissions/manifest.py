"""``submission.toml``: what a submission says of itself, read strictly and answered in words when it is wrong."""

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import InvalidRequirement, Requirement
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from benchmark.errors import BenchmarkError

FILE = "submission.toml"
NAME = r"[a-z][a-z0-9_]{2,39}"

HINTS: Mapping[str, tuple[str, str]] = {
    "name": (
        "3 to 40 small letters, digits and _, a letter first, as its folder is called",
        'name = "my_method", in the folder submissions/my_method',
    ),
    "version": ("a whole number from 1", "version = 1; raise it whenever a result changes"),
    "entry": ("FILE.py:CLASS, a file of this folder", 'entry = "explainer.py:MyMethod"'),
    "summary": ("one sentence, 10 to 200 characters", 'summary = "Mean similarity with a patch, less that without it."'),
    "authors": ("a list of at least one name", 'authors = ["Ada Lovelace"]'),
    "paper": ("a table with a title and where it is", 'a [paper] table with title = "..." and arxiv = "2206.06219"'),
    "paper.title": ("the paper's title", 'title = "Making Sense of Dependence"'),
    "paper.url": ("an address that begins with https://", 'url = "https://..."'),
    "paper.arxiv": ("an arXiv number", 'arxiv = "2206.06219"'),
    "paper.doi": ("a DOI, without https://doi.org/", 'doi = "10.1000/182"'),
    "paper.unpublished": ("true or false", "unpublished = true, if there is no paper yet"),
    "bibtex": (
        "one BibTeX entry with a title and a year",
        'bibtex = """@article{key, title={...}, author={...}, year={2026}}"""; what is unpublished has @misc',
    ),
    "licence": ("an SPDX expression", 'licence = "Apache-2.0", or "MIT", or "BSD-3-Clause"'),
    "differs": ("a text", 'differs = "in what the code departs from the paper"'),
    "requirements": (
        "a list of requirements as pip reads them",
        'requirements = ["scikit-learn>=1.6"], or [] if what the suite installs is enough',
    ),
    "yields": ('a list of "image", "text", "cross" and "surrogate"', 'yields = ["image"]'),
    "needs": ("a list of texts", 'needs = ["an image class token"], or [] for a black-box method'),
    "deterministic": ("true or false", "deterministic = false, if rng is used"),
    "replicates": ("a whole number from 1 to 16", "replicates = 1"),
    "parameters": (
        "a table for each parameter, with value, source and detail",
        'a [parameters.n_masks] table with value = 500, source = "paper" and detail = "section 4.1"',
    ),
    "parameters.value": ("a number, a text, true or false, or a list of them", "value = 500"),
    "parameters.source": (
        '"paper" (its text says so), "code" (the authors\' default), "tuned" (chosen by results) or "chosen" (by hand)',
        'source = "paper"',
    ),
    "parameters.detail": (
        "where in the paper or code the value stands, on what it was tuned, or why it was chosen",
        'detail = "section 4.1"',
    ),
    "limits": ("a table with seconds, memory_gb and processes", "[limits] with seconds = 60"),
    "limits.seconds": ("seconds for one explanation, more than 0 and at most 600", "seconds = 60"),
    "limits.memory_gb": ("gigabytes, from 1 to 16", "memory_gb = 4"),
    "limits.processes": ("a whole number from 1 to 64", "processes = 16"),
}
"""For every key what is allowed, and a line that is."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file, and how to mend it."""

    key: str
    wrong: str
    mend: str

    def __str__(self) -> str:
        place = FILE if self.key == FILE else f"{FILE}: {self.key}"
        return f"{place}: {self.wrong}. Mend: {self.mend}"


class ManifestError(BenchmarkError):
    """A ``submission.toml`` that cannot be read or says what it may not; ``problems`` has each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, problems)))


def _requirement(text: str) -> str:
    try:
        parsed = Requirement(text)
    except InvalidRequirement as error:
        raise ValueError(f"{text!r} is no requirement ({str(error).splitlines()[0]})") from error
    if parsed.url is not None:
        raise ValueError(f"{text!r} points at an address; only released packages, by name and version, can be installed again")
    return text


def _licence(text: str) -> str:
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression as error:
        raise ValueError(f"{text!r} is no SPDX expression") from error


def _bibtex(text: str) -> str:
    if not re.match(r"\s*@\w+\s*\{\s*[^\s,{}]+\s*,", text):
        raise ValueError("an entry begins with @kind{key,")
    if text.count("{") != text.count("}"):
        raise ValueError(f"it has {text.count('{')} opening and {text.count('}')} closing braces")
    missing = [field for field in ("title", "year") if not re.search(rf"\b{field}\s*=", text, re.IGNORECASE)]
    if missing:
        raise ValueError(f"it has no {' and no '.join(missing)}")
    return text


Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\n]+$")]
Scalar = bool | int | float | str


class Part(BaseModel):
    """Frozen, strict about types, and closed to keys that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Paper(Part):
    """Where the method is described; without any place it has to say that it is unpublished."""

    title: Annotated[str, Field(min_length=3, max_length=300)]
    url: Annotated[str, Field(pattern=r"^https://[^\s<>\"]+$", max_length=300)] | None = None
    arxiv: Annotated[str, Field(pattern=r"^(\d{4}\.\d{4,5}(v\d+)?|[a-z.-]+/\d{7}(v\d+)?)$")] | None = None
    doi: Annotated[str, Field(pattern=r"^10\.\d{4,9}/\S+$", max_length=200)] | None = None
    unpublished: bool = False

    @model_validator(mode="after")
    def _has_a_place(self) -> "Paper":
        if not (self.url or self.arxiv or self.doi or self.unpublished):
            raise ValueError("it has none of url, arxiv and doi, and does not say unpublished = true")
        return self

    @property
    def cited(self) -> str:
        """The title and where the paper is."""
        place = f"arXiv {self.arxiv}" if self.arxiv else self.doi or self.url or "unpublished"
        return f"{self.title}, {place}"


class Parameter(Part):
    """The value that a parameter is run with, and where it comes from."""

    value: Scalar | tuple[Scalar, ...]
    source: Literal["paper", "code", "tuned", "chosen"]
    detail: Annotated[str, Field(min_length=3, max_length=500)]


class Asked(Part):
    """The limits that a submission asks for; it is stopped at them. ``seconds`` are of one explanation."""

    seconds: Annotated[float, Field(gt=0, le=600, strict=False)] = 60.0
    memory_gb: Annotated[float, Field(ge=1, le=16, strict=False)] = 4.0
    processes: Annotated[int, Field(ge=1, le=64)] = 16


class Manifest(Part):
    """A submission's own description."""

    name: Annotated[str, Field(pattern=f"^{NAME}$")]
    version: Annotated[int, Field(ge=1)]
    entry: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*\.py:[A-Za-z_]\w*$")]
    summary: Annotated[str, Field(min_length=10, max_length=200, pattern=r"^[^\n]+$")]
    authors: Annotated[tuple[Line, ...], Field(min_length=1)]
    paper: Paper
    bibtex: Annotated[str, AfterValidator(_bibtex)]
    licence: Annotated[str, AfterValidator(_licence)]
    differs: str = ""
    requirements: tuple[Annotated[str, AfterValidator(_requirement)], ...] = ()
    yields: Annotated[tuple[Literal["image", "text", "cross", "surrogate"], ...], Field(min_length=1)]
    needs: tuple[Line, ...] = ()
    deterministic: bool
    replicates: Annotated[int, Field(ge=1, le=16)] = 1
    parameters: dict[Annotated[str, Field(pattern=r"^[a-z_]\w*$")], Parameter] = Field(default_factory=dict[str, Parameter])
    limits: Asked = Asked()

    @property
    def file(self) -> str:
        """The file of ``entry``."""
        return self.entry.partition(":")[0]

    @property
    def kind(self) -> str:
        """The class of ``entry``."""
        return self.entry.partition(":")[2]

    @property
    def values(self) -> dict[str, Any]:
        """Every parameter's value by name."""
        return {name: parameter.value for name, parameter in self.parameters.items()}


def read_manifest(folder: Path, taken: Collection[str] = ()) -> Manifest:
    """Read the ``submission.toml`` of a folder; whatever is wrong with it is said at once, in a ``ManifestError``.

    ``taken`` are names that methods of the suite have.
    """
    path = folder / FILE
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ManifestError(
            [Problem(FILE, f"{folder} has no such file", "`benchmark submission new NAME` writes one")]
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError([Problem(FILE, f"it cannot be read: {error}", "save it as a text file in UTF-8")]) from error
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(
            [Problem(FILE, f"it is no TOML: {error}", "texts stand in quotes; a [table] begins a line")]
        ) from error
    manifest, problems = _validate(given)
    name = given.get("name")
    if isinstance(name, str) and re.fullmatch(NAME, name):
        if name in taken:
            problems.append(
                Problem("name", f"a method of the suite is called {name!r}", "choose another name, and rename the folder")
            )
        elif name != folder.resolve().name:
            problems.append(Problem("name", f"it is {name!r}, and its folder {folder.resolve().name!r}", "give both one name"))
    if manifest is None or problems:
        raise ManifestError(problems)
    return manifest


def _validate(given: Mapping[str, Any]) -> tuple[Manifest | None, list[Problem]]:
    # TOML has lists where the manifest has tuples, which strict validation of Python objects would not take
    try:
        return Manifest.model_validate(_with_tuples(given)), []
    except ValidationError as error:
        found = {problem.key: problem for problem in map(_problem, error.errors(include_url=False))}  # a union has several
        listed = {key.partition(" (number")[0] for key in found if " (number" in key}
        return None, [problem for key, problem in found.items() if key not in listed]


def _with_tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_tuples(item) for key, item in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _problem(error: ErrorDetails) -> Problem:
    """Say one of pydantic's findings in the words of this file."""
    path = [str(part) for part in error["loc"] if not str(part).startswith(("function-", "tuple["))]
    shown, general = _keys(path)
    allowed, mend = HINTS.get(general, ("", ""))
    match error["type"]:
        case "missing":
            return Problem(shown, f"it is missing; it is {allowed}", f"add {mend}")
        case "extra_forbidden":
            return _unknown(shown, general)
        case "value_error":
            return Problem(shown, str(error["ctx"]["error"]), mend)  # pyright: ignore[reportTypedDictNotRequiredAccess]  # a value_error has one
        case _:
            return Problem(shown, f"given {_shortened(error['input'])}; allowed is {allowed}", mend)


def _keys(path: Sequence[str]) -> tuple[str, str]:
    """Return a place as it is shown, and the key of its hint."""
    if not path:
        return FILE, ""
    if path[0] == "parameters" and len(path) > 1:
        if path[-1] == "[key]":
            return f"parameters.{path[1]}", "parameters"
        inner = path[2:3]
        return ".".join(["parameters", path[1], *inner]), ".".join(["parameters", *inner])
    named = [part for part in path[:2] if not part.isdigit()]
    place = f" (number {int(path[1]) + 1})" if len(path) > 1 and path[1].isdigit() else ""
    return ".".join(named) + place, ".".join(named)


def _unknown(shown: str, general: str) -> Problem:
    level, _, last = general.rpartition(".")
    known = [key.rpartition(".")[2] for key in HINTS if key.rpartition(".")[0] == level]
    near = get_close_matches(last, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return Problem(shown, f"there is no such key; known: {', '.join(known)}", f"{hint}Rename it, or take it out")


def _shortened(value: Any) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
