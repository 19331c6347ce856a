"""What to cite for a table: BibTeX entries of methods, data, the suite and a snapshot, each once and under a key of its own.

Entries are read, not only passed on, so that one broken entry of a submission is named here and not by BibTeX in a paper.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.errors import InvalidInput

_HEAD = re.compile(r"@(?P<kind>[A-Za-z]+)\s*\{\s*(?P<key>[^\s,{}]*)\s*,")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:.+/-]*")
_FIELD = re.compile(r"\s*(?P<name>[A-Za-z][A-Za-z0-9_-]*)\s*=\s*")
_BARE = re.compile(r"[A-Za-z0-9]+")
REQUIRED = ("author", "title")

SUITE_KEY = "xlip_bench"
TITLE = "{XLIP-Bench}: a benchmark and leaderboard for explanations of image-text dual encoders"


@dataclass(frozen=True, slots=True)
class Entry:
    """One BibTeX entry; a value is kept as written, without its outer braces or quotes and with line breaks as spaces."""

    kind: str
    key: str
    fields: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"  {name} = {{{value}}}" for name, value in self.fields.items()]
        return f"@{self.kind}{{{self.key},\n" + ",\n".join(lines) + "\n}"


@dataclass(frozen=True, slots=True)
class Bibliography:
    """Entries in order of first use, and for every source (a method, a data set) the keys that cite it."""

    entries: tuple[Entry, ...]
    keys: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.entries))


def gather(sources: Mapping[str, str]) -> Bibliography:
    """Read the BibTeX of every source, by its name, into one bibliography; a source may have none, one or several entries.

    An entry that several sources share stands once. Another entry of a taken key gets the key with a letter behind it. What
    cannot be read raises ``InvalidInput`` with the source's name.
    """
    kept: dict[str, Entry] = {}
    keys: dict[str, tuple[str, ...]] = {}
    for source, text in sources.items():
        used: list[str] = []
        for entry in read(text, source):
            key, letter = entry.key, "a"
            while (known := kept.get(key)) is not None and (known.kind, known.fields) != (entry.kind, entry.fields):
                key, letter = f"{entry.key}{letter}", chr(ord(letter) + 1)
            kept.setdefault(key, Entry(entry.kind, key, entry.fields))
            used.append(key)
        keys[source] = tuple(dict.fromkeys(used))
    return Bibliography(tuple(kept.values()), keys)


def read(text: str, source: str = "BibTeX") -> list[Entry]:
    """Read entries written as ``@kind{key, name = {value}, ...}``; ``InvalidInput`` says what is wrong and in which source.

    Author and title are required, a field stands once, and braces are balanced. No ``@string``, no ``#``.
    """
    found: list[Entry] = []
    at = _skip(text, 0)
    while at < len(text):
        head = _HEAD.match(text, at)
        if head is None:
            raise _wrong(source, f"expected @kind{{key, ... at {text[at : at + 30]!r}")
        if not _KEY.fullmatch(head["key"]):
            raise _wrong(source, f"{head['key']!r} is no key: letters, digits and any of _ : . + / -")
        fields, at = _fields(text, head.end(), f"{source}, {head['key']}")
        missing = [name for name in REQUIRED if not fields.get(name)]
        if missing:
            raise _wrong(source, f"{head['key']} has no {missing[0]}")
        found.append(Entry(head["kind"].lower(), head["key"], fields))
        at = _skip(text, at)
    return found


def suite_entry(version: str) -> str:
    """Return the entry of this suite, the same as in ``CITATION.cff``."""
    return (
        f"@misc{{{SUITE_KEY},\n  title = {{{TITLE}}},\n  author = {{{{XLIP-Bench contributors}}}},\n"
        f"  note = {{Version {version}}}\n}}"
    )


def snapshot_entry(name: str, year: int, version: str, digest: str) -> str:
    """Return the entry of a snapshot: its name (``generated/v1``), the year it was frozen, the suite's version, a checksum."""
    key = f"{SUITE_KEY}:{re.sub(r'[^A-Za-z0-9.+/-]', '-', name)}"
    escaped = name.replace("_", r"\_")
    return (
        f"@misc{{{key},\n  title = {{{{XLIP-Bench}} leaderboard snapshot {escaped}}},\n"
        f"  author = {{{{XLIP-Bench contributors}}}},\n  year = {{{year}}},\n"
        f"  note = {{Frozen tables and per-sample scores, made with version {version}; SHA-256 {digest}}}\n}}"
    )


def _fields(text: str, at: int, where: str) -> tuple[dict[str, str], int]:
    """Read fields up to the closing brace of an entry; return them and the place behind it."""
    fields: dict[str, str] = {}
    while True:
        at = _skip(text, at)
        if text.startswith("}", at):
            return fields, at + 1
        match = _FIELD.match(text, at)
        if match is None:
            raise _wrong(where, f"expected a field or a closing brace at {text[at : at + 30]!r}")
        name = match["name"].lower()
        if name in fields:
            raise _wrong(where, f"the field {name} stands twice")
        value, at = _value(text, match.end(), f"{where}, {name}")
        fields[name] = " ".join(value.split())
        at = _skip(text, at)
        if text.startswith(",", at):
            at += 1
        elif not text.startswith("}", at):
            raise _wrong(where, f"expected a comma behind {name}")


def _value(text: str, at: int, where: str) -> tuple[str, int]:
    if text[at : at + 1] not in ("{", '"'):
        bare = _BARE.match(text, at)
        if bare is None:
            raise _wrong(where, "a value stands in braces or quotes")
        return bare.group(), bare.end()
    closing = "}" if text[at] == "{" else '"'
    depth, start = 0, at + 1
    for i in range(start, len(text)):
        sign, escaped = text[i], text[i - 1] == "\\"
        if depth == 0 and sign == closing and not escaped:
            return text[start:i], i + 1
        if sign in "{}" and not escaped:
            depth += 1 if sign == "{" else -1
        if depth < 0:
            break
    raise _wrong(where, "braces or quotes are not balanced")


def _skip(text: str, at: int) -> int:
    return at + len(text[at:]) - len(text[at:].lstrip())


def _wrong(source: str, what: str) -> InvalidInput:
    return InvalidInput(f"the BibTeX of {source} cannot be read: {what}")
