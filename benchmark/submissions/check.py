"""``benchmark submission check``: everything that can be said of a submission in a minute."""

import ast
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from packaging.requirements import Requirement
from PIL import Image

from benchmark.errors import BenchmarkError
from benchmark.explainers.base import EXPLAINERS, Explainer
from benchmark.explanations import Explanation
from benchmark.ranking import Row, Selection, leaderboard
from benchmark.runner import catalogue
from benchmark.runner.encoders import EncoderSource
from benchmark.runner.plan import Request
from benchmark.runner.progress import Progress
from benchmark.runner.run import run
from benchmark.sandbox import Confinement, Limits, close_children, sandboxed
from benchmark.store import open_store
from benchmark.submissions.contract import read_findings
from benchmark.submissions.findings import Finding, failed
from benchmark.submissions.loading import copied, limits_of, load
from benchmark.submissions.manifest import FILE, Manifest, ManifestError, read_manifest

MOST_BYTES, MOST_FILES = 5_000_000, 200
CONTRACT_SECONDS = 150.0
"""For all contract tests, the import of torch included."""
MOCK_TASKS = ("scenes-pointing", "scenes-grounding", "phantoms-pointing", "phantoms-confidence")
MOCK_METRICS = ("average_precision", "drop_image_top25", "drop_text")
MOCK_SAMPLES = 2
MOCK_BESIDE = ("random", "centre")
EMBEDDED = EncoderSource(name="embedded", device="cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a check found. ``table`` holds the mock run, one row for each task and method; its numbers mean nothing."""

    submission: str
    confinement: str
    findings: Sequence[Finding]
    table: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    seconds: float

    @property
    def passed(self) -> bool:
        return not failed(self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {
            "submission": self.submission,
            "passed": self.passed,
            "confinement": self.confinement,
            "seconds": round(self.seconds, 1),
            "checks": [finding.as_dict() for finding in self.findings],
            "mock_run": list(self.table),
        }


class Check:
    """One check of one folder; ``findings`` yields as it goes, so that a reader sees where it is."""

    def __init__(self, folder: Path, confinement: Confinement) -> None:
        self.folder = folder
        self.confinement: Confinement = confinement
        self.table: list[dict[str, Any]] = []
        self._began = time.perf_counter()

    def findings(self) -> Iterator[Finding]:
        """Yield every finding. What rests on a failed check is not tried."""
        try:
            manifest = read_manifest(self.folder, EXPLAINERS)
        except ManifestError as error:
            for problem in error.problems:
                key = "" if problem.key == FILE else f"{problem.key}: "
                yield Finding("manifest", "wrong", f"{key}{problem.wrong}", problem.mend)
            return
        yield Finding("manifest", "ok", f"{manifest.name} version {manifest.version}, {manifest.licence}")
        static = [*_files(self.folder), *_source(self.folder, manifest), *_requirements(manifest)]
        yield from static
        if failed(static):
            return
        tried: list[Finding] = []
        for part in (self._contract, self._mock):
            tried = list(part(manifest))
            yield from tried
            if failed(tried):
                return

    def report(self, findings: Sequence[Finding]) -> Report:
        """Put together what was found."""
        return Report(
            submission=self.folder.resolve().name,
            confinement=self.confinement,
            findings=tuple(findings),
            table=tuple(self.table),
            seconds=time.perf_counter() - self._began,
        )

    def _contract(self, manifest: Manifest) -> Iterator[Finding]:
        """Try the contract, in the submission's own sandbox."""
        limits = Limits(memory_mb=limits_of(manifest).memory_mb, seconds_per_unit=CONTRACT_SECONDS)
        try:
            with _staged(self.folder, manifest) as (copy, entry):
                contract = sandboxed(
                    copy,
                    entry=entry,
                    name=manifest.name,
                    version=manifest.version,
                    parameters={},
                    yields=("image",),
                    needs=("an encoder to look into",),
                    encoder_source=EMBEDDED,
                    limits=limits,
                    confinement=self.confinement,
                )
                yield from read_findings(_asked(contract))
        except BenchmarkError as error:
            yield _stopped("contract", error, manifest)
        finally:
            close_children()

    def _mock(self, manifest: Manifest) -> Iterator[Finding]:
        """Run a few samples through the real runner, into a store that is thrown away."""
        explainer = load(self.folder, manifest, EMBEDDED, self.confinement)
        beside = [EXPLAINERS[name].configure({}) for name in MOCK_BESIDE]
        request = Request(
            methods=[explainer, *beside], tasks=[catalogue.TASKS[task] for task in MOCK_TASKS], limit=MOCK_SAMPLES
        )
        try:
            with tempfile.TemporaryDirectory(prefix="submission-") as scratch:
                store = Path(scratch) / "mock.duckdb"
                summary = run(request, [EMBEDDED], store, workers=1, command="benchmark submission check", progress=_Silent)
                with open_store(store) as connection:
                    rows = leaderboard(connection, Selection(metrics=MOCK_METRICS))
        except BenchmarkError as error:
            yield _stopped("mock run", error, manifest)
            return
        finally:
            close_children()
        self.table = [_line(row) for row in rows]
        own = [row for row in rows if row.method == manifest.name]
        broken = next((row for row in own if row.n_failed), None)
        scored = [row for row in own if row.mean is not None]
        if broken is not None:
            message = f"failed on {broken.n_failed} of {broken.n_samples} samples of {broken.task}: {broken.reason}"
            yield Finding("mock run", "wrong", message, "mend what it says; the contract tests use other images and texts")
        elif not scored:
            reason = own[0].reason if own else "it has no row"
            yield Finding(
                "mock run",
                "wrong",
                f"no task could score it: {reason}",
                "give an image map at least, or declare what it yields",
            )
        else:
            tasks = ", ".join(row.task for row in scored)
            yield Finding("mock run", "ok", f"{summary.n_units} units through the runner; scored by {tasks}")
        for row in scored:
            if row.n_degenerate:
                message = (
                    f"{row.n_degenerate} of {row.n} explanations of {row.task} say nothing (constant), and count as chance"
                )
                yield Finding("mock run", "note", message)


class _Silent(Progress):
    """No progress: a check is short."""

    def _show(self, end: str) -> None:
        del end


def _asked(contract: Explainer) -> Explanation:
    """Let the contract be tried; the pair is there because an explainer is always given one."""
    encoder = EMBEDDED.load()
    pair = encoder.pair(Image.new("RGB", (96, 96)), "a star")
    return contract.explain(encoder, pair, np.random.default_rng(0))


@contextmanager
def _staged(folder: Path, manifest: Manifest) -> Generator[tuple[Path, str]]:
    """Yield a copy of a submission with the contract beside it, and the entry of the latter.

    The sandbox shows explainers only what they may read of this package, and the contract is not among it: so it is copied.
    """
    declared = {"name": manifest.name, "version": manifest.version, "yields": manifest.yields, "needs": manifest.needs}
    declared |= {"deterministic": manifest.deterministic, "replicates": manifest.replicates, "parameters": manifest.values}
    with copied(folder) as copy:
        suite = copy / "_contract" / "submissions"
        suite.mkdir(parents=True)
        (suite / "__init__.py").touch()
        for name in ("contract.py", "encoders.py", "findings.py"):
            (suite / name).write_bytes((files("benchmark.submissions") / name).read_bytes())
        (copy / "_contract.py").write_text(
            "from pathlib import Path\n\nimport benchmark\n\n"
            "here = Path(__file__).parent\n"
            "benchmark.__path__.append(str(here / '_contract'))\n"
            "from benchmark.submissions.contract import contract_explainer\n\n"
            f"Contract = contract_explainer(here / {manifest.file!r}, {manifest.kind!r}, {declared!r})\n",
            encoding="utf-8",
        )
        yield copy, "_contract.py:Contract"


def _files(folder: Path) -> Iterator[Finding]:
    """Look at the folder itself: regular small files, a README that was written."""
    found = [path for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts]
    for path in found:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            message = f"{path.relative_to(folder)} is a link or no plain file"
            yield Finding("files", "wrong", message, "put the file itself there")
            return
    sizes = [path.stat().st_size for path in found if path.is_file()]
    if sum(sizes) > MOST_BYTES or len(sizes) > MOST_FILES:
        message = (
            f"{len(sizes)} files of {sum(sizes) / 1e6:.1f} MB; at most {MOST_FILES} of {MOST_BYTES / 1e6:.0f} MB are taken"
        )
        yield Finding("files", "wrong", message, "leave out results, figures and weights")
        return
    readme = folder / "README.md"
    words = len(readme.read_text(encoding="utf-8", errors="replace").split()) if readme.is_file() else 0
    if words < 20:
        message = "there is no README.md" if not readme.is_file() else f"README.md has {words} words"
        yield Finding("files", "wrong", message, "say in README.md what the method does, what it costs and where it fails")
    else:
        yield Finding("files", "ok", f"{len(sizes)} files, {sum(sizes) / 1e3:.0f} kB")


def _source(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """Read the entry's file without running it."""
    path = folder / manifest.file
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        yield Finding("source", "wrong", f"entry names {manifest.file}, and there is no such file", "write it, or mend entry")
    except SyntaxError as error:
        line = (error.text or "").strip()
        yield Finding("source", "wrong", f"{manifest.file}, line {error.lineno}: {error.msg}: {line}", "mend that line")
    except (ValueError, OSError) as error:
        yield Finding("source", "wrong", f"{manifest.file} cannot be read: {error}", "save it as a text file in UTF-8")
    else:
        classes = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        if manifest.kind in classes:
            yield Finding("source", "ok", f"{manifest.entry} is there")
        else:
            known = f"its classes: {', '.join(classes)}" if classes else "it has no class"
            yield Finding(
                "source", "wrong", f"{manifest.file} has no class {manifest.kind}; {known}", "mend entry in submission.toml"
            )


def _requirements(manifest: Manifest) -> Iterator[Finding]:
    for text in manifest.requirements:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield Finding("requirements", "wrong", f"{requirement.name} is not installed", f"pip install '{text}'")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield Finding(
                "requirements", "wrong", f"{requirement.name} {found} is here, and {text} is asked", f"pip install '{text}'"
            )


def _stopped(check: str, error: BenchmarkError, manifest: Manifest) -> Finding:
    """Say what the sandbox says of code that it stopped."""
    match type(error).__name__:
        case "TimeLimit":
            mend = "take fewer samples by default, and encode in batches, as SimilarityGame does; look for an endless loop"
        case "MemoryLimit":
            mend = f"hold less at a time, or ask for more than memory_gb = {manifest.limits.memory_gb:g} under [limits]"
        case "ProcessLimit":
            mend = f"start fewer, or ask for more than processes = {manifest.limits.processes} under [limits]"
        case "ChangedWeights":
            mend = "read the encoder's weights and leave them; to change a step use encoder.trace(change={site: function})"
        case "OutputLimit":
            mend = "print less; what is printed is read by nobody"
        case _:
            mend = "run it once in a notebook, as docs/writing_an_explainer.md shows, and read the traceback there"
    return Finding(check, "wrong", str(error), mend)


def _line(row: Row) -> dict[str, Any]:
    return {
        "task": row.task,
        "metric": row.metric,
        "method": row.method,
        "mean": None if row.mean is None else round(row.mean, 3),
        "chance": None if row.chance is None else round(row.chance, 3),
        "n": row.n,
        "n_failed": row.n_failed,
        "seconds": None if row.seconds is None else round(row.seconds, 3),
    }
