"""The examples of docs/bridges.md run as they stand, and importing this suite imports no other library's explainers."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.explainers.base import EXPLAINERS
from tests.small_encoders import picture

GUIDE = Path(__file__).parents[2] / "docs" / "bridges.md"


@pytest.mark.slow
def test_the_guides_examples_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("captum", reason="Captum is not installed")
    blocks = [block.split("```")[0] for block in GUIDE.read_text(encoding="utf-8").split("```python\n")[1:]]
    assert len(blocks) == 9
    monkeypatch.setattr(EXPLAINERS, "_items", dict(EXPLAINERS))  # what the guide registers is gone after this test
    monkeypatch.chdir(tmp_path)
    picture().save("photo.jpg")
    space: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), space)
    encoder, pair = space["encoder"], space["pair"]
    for name in ("occlusion", "smooth"):
        found = space[name].explain(encoder, pair, space["rng"])
        found.check(encoder.patch_grid, pair.n_tokens)
        assert np.ptp(found.image) > 0
    assert sorted(space["table"]["method"].unique()) == ["captum_integrated_gradients[n_steps=20]", "random"]
    assert set(space["table"]["status"]) == {"ok"}
    assert space["maps"].shape == (1, 1, *pair.pixel_values.shape[2:])
    assert space["interactions"].cross is not None
    np.testing.assert_allclose(space["again"].players.main, space["interactions"].players.main, atol=1e-12)
    assert space["shapley"].players.pairs is None


def test_importing_the_suite_and_its_bridges_imports_no_captum() -> None:
    code = "import sys, benchmark, benchmark.bridges, benchmark.explainers; sys.exit('captum' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
