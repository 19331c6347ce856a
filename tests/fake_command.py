"""``benchmark`` with nothing but the fakes in it, and without torch: starts fast, as often as a test needs.

A worker process imports this script too, so it finds the fakes as well.
"""

import os
import sys
from pathlib import Path
from types import ModuleType

import benchmark

for name in ("data", "encoders", "explainers", "tasks"):  # what registers itself, and what loads torch, is left out
    package = ModuleType(f"benchmark.{name}")
    package.__path__ = [str(Path(benchmark.__path__[0]) / name)]
    sys.modules[package.__name__] = package

import fakes  # noqa: E402

import benchmark.runner.catalogue  # noqa: E402
import benchmark.store.writer  # noqa: E402

fakes.plant()
sys.modules["benchmark.encoders"].load_encoder = fakes.load_fake_encoder  # type: ignore[attr-defined]
benchmark.runner.catalogue.register = lambda: None
benchmark.store.writer.PUBLISH_SECONDS = float(os.environ.get("FAKE_PUBLISH_SECONDS", "5"))

if __name__ == "__main__":
    from benchmark.cli import main

    main()
