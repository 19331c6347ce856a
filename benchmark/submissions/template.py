"""``benchmark submission new``: a folder that already passes its check, and teaches what to change."""

import re
from importlib.resources import files
from pathlib import Path

from benchmark.errors import InvalidInput
from benchmark.submissions.manifest import FILE, HINTS, NAME

TEMPLATE = files("benchmark.submissions") / "template"
FILES = {FILE: "submission.toml.txt", "explainer.py": "explainer.py.txt", "README.md": "README.md.txt"}


def write(name: str, home: Path, taken: frozenset[str]) -> Path:
    """Write a submission called ``name`` into a folder of that name; what is there already is never touched."""
    if not re.fullmatch(NAME, name):
        allowed, mend = HINTS["name"]
        raise InvalidInput(f"{name!r} cannot name a submission; a name is {allowed}: {mend}")
    if name in taken:
        raise InvalidInput(f"a method of the suite is called {name!r}; choose another name")
    folder = home / name
    if folder.exists():
        raise InvalidInput(f"{folder} is there already and stays as it is; choose another name, or another --folder")
    folder.mkdir(parents=True)
    kind = "".join(part.capitalize() for part in name.split("_"))
    for target, template in FILES.items():
        text = (TEMPLATE / template).read_text(encoding="utf-8")
        (folder / target).write_text(text.replace("{{name}}", name).replace("{{class}}", kind), encoding="utf-8")
    return folder
