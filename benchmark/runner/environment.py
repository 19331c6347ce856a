"""What a run was made with: code, packages, device, hardware. No host and no user is named."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from secrets import token_hex
from typing import Any

from benchmark.records import RunRecord
from benchmark.runner.encoders import available_cores

PACKAGES = ("xlip-bench", "numpy", "scipy", "torch", "transformers", "open_clip_torch", "shapiq", "duckdb", "pillow")


def describe_run(command: str, device: str, seeds: tuple[int, ...]) -> RunRecord:
    """Write down a new run."""
    commit, dirty = git_state(Path(__file__).parent)
    return RunRecord(
        run_id=f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{token_hex(4)}",
        command=command,
        commit=commit,
        dirty=dirty,
        versions=package_versions(),
        device=device,
        seeds=seeds,
        hardware=hardware(),
    )


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of every package that can change a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit that ``folder`` is at and whether files differ from it; ``None`` outside a repository."""
    commit = _git(folder, "rev-parse", "HEAD")
    status = _git(folder, "status", "--porcelain", "--", ".")
    return commit, None if commit is None or status is None else bool(status)


def hardware() -> Mapping[str, Any]:
    """Return processor, cores, memory and accelerator."""
    found: dict[str, Any] = {"system": platform.system(), "machine": platform.machine(), "cores": available_cores()}
    processor = _processor()
    if processor:
        found["processor"] = processor
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory_gb"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["accelerator"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
