"""The contract finds what is wrong with a class, and says how to mend it."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.encoders import load_encoder
from benchmark.explainers import EXPLAINERS
from benchmark.submissions import contract
from benchmark.submissions.contract import examine
from benchmark.submissions.findings import Finding
from benchmark.submissions.manifest import read_manifest

EXAMPLES = Path(__file__).resolve().parents[2] / "submissions"
DECLARED = {
    "name": "mine",
    "version": 1,
    "yields": ("image",),
    "needs": (),
    "deterministic": True,
    "replicates": 1,
    "parameters": {"n": 2},
}
SOURCE = """
import random
from dataclasses import dataclass
import numpy as np
import torch
from benchmark.explainers.base import Explainer
from benchmark.explanations import Explanation

CALLS = []

@dataclass(frozen=True, kw_only=True)
class Mine(Explainer, name="mine", version=1):
    yields = ("image",)
    n: int = 2

    def explain(self, encoder, pair, rng):
        scores = np.arange(float(encoder.n_patches)).reshape(encoder.patch_grid)
        BODY
        return Explanation(image=scores)
"""


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("embedded", device="cpu")


@pytest.fixture(autouse=True)
def unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EXPLAINERS, "_items", dict(EXPLAINERS))


@pytest.fixture
def tried(tmp_path: Path, encoder, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Finding]]:
    monkeypatch.setattr(contract, "SMALL", {"CLIP with 4 x 4 patches": contract.SMALL["CLIP with 4 x 4 patches"]})

    def run(body: str = "pass", old: str = "", new: str = "", **declared: object) -> list[Finding]:
        file = tmp_path / "mine_explainer.py"
        file.write_text(SOURCE.replace("BODY", body).replace(old, new) if old else SOURCE.replace("BODY", body))
        return list(examine(file, "Mine", DECLARED | declared, encoder))

    return run


def test_a_class_that_keeps_its_promises_passes(tried):
    assert [finding.state for finding in tried()] == ["ok"] * 4


@pytest.mark.parametrize(
    ("body", "said", "mend"),
    [
        ("scores = scores[:-1]", "image scores have shape (6, 7); this pair needs (7, 7)", "encoder.patch_grid"),
        ("scores = np.zeros((7, 7))", "image scores have shape (7, 7); this pair needs (4, 4)", "encoder.patch_grid"),
        ("scores[0, 0] = np.nan", "image scores must be finite; 1 of 49 are not", "division by zero"),
        ("scores = scores + rng.random()", "another seed gave another explanation", "deterministic = false"),
        ("CALLS.append(1); scores = scores + len(CALLS)", "gave another explanation after other pairs", "keep nothing"),
        ("next(encoder.model.parameters()).data.mul_(1.0001)", "it changes the encoder's weights", "encoder.trace(change="),
        ("pair.pixel_values.zero_()", "it changes the pair", "clone()"),
        ("np.random.rand()", "it draws from the global generator of numpy", "draw from rng"),
        ("torch.rand(1)", "it draws from the global generator of torch", "draw from rng"),
        ("random.random()", "it draws from the global generator of random", "draw from rng"),
        ("torch.set_grad_enabled(False)", "it leaves gradients switched off", "torch.no_grad()"),
        ("encoder.model.register_forward_hook(print)", "it leaves hooks on the encoder", "encoder.trace"),
        ("return scores", "explain returned ndarray, not an Explanation", "return Explanation"),
        ("return Explanation(text=np.zeros(pair.n_tokens))", "it declares ['image'] and gives ['text']", "yields"),
        ("1 / 0", "ZeroDivisionError at mine_explainer.py, line 18: division by zero", "mend the line"),
    ],
)
def test_a_broken_promise_is_found_and_a_way_to_mend_it_is_said(tried, encoder, body, said, mend):
    weights = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    try:
        found = [finding for finding in tried(body) if finding.state == "wrong"]
    finally:
        encoder.model.load_state_dict(weights)
        torch.set_grad_enabled(True)
        encoder.model._forward_hooks.clear()
    assert said in found[0].message
    assert mend in found[0].mend


@pytest.mark.parametrize(
    ("old", "new", "declared", "said"),
    [
        ("n: int = 2", "n: int = 2\n    width: int = 1", {}, "the parameter width of the class is not in submission.toml"),
        ("n: int = 2", "pass", {}, "submission.toml has a parameter n, and the class has no such field"),
        ("n: int = 2", "n: int = 3", {}, "n has 3 in the class and is 2 in submission.toml"),
        ("n: int = 2", "n: int", {}, "n has no default in the class"),
        ("version=1", "version=2", {}, "version is 2 in the class and 1 in submission.toml"),
        ('name="mine"', 'name="other"', {}, "name is 'other' in the class and 'mine'"),
        ("", "", {"yields": ("image", "text")}, "yields is ('image',) in the class and ('image', 'text')"),
        ("import random", "import nowhere", {}, "ModuleNotFoundError at mine_explainer.py, line 2"),
        ("(Explainer, name=", "(dict, name=", {}, "__init_subclass__() takes no keyword arguments"),
        ('(Explainer, name="mine", version=1)', "", {}, "has no explainer called Mine"),
    ],
)
def test_a_class_unlike_its_manifest_is_found_before_it_is_run(tried, old, new, declared, said):
    found = tried("raise SystemError", old, new, **declared)
    assert found[-1].state == "wrong"
    assert said in found[-1].message


def test_a_slow_class_is_found(tried, monkeypatch):
    monkeypatch.setattr(contract, "SLOW", 0.01)
    found = tried("import time; time.sleep(0.05)")
    assert any(finding.check == "time" and "fewer samples" in finding.mend for finding in found)


@pytest.mark.parametrize(
    ("given", "state", "said"),
    [("'mine reads what this tower lacks'", "note", "is refused: mine reads"), ("True", "wrong", "which is no sentence")],
)
def test_an_encoder_is_refused_in_a_sentence(tried, given, state, said):
    refusal = f"    def unsupported(self, encoder):\n        return {given}\n\n    def explain("
    found = tried("pass", "    def explain(", refusal)
    assert [finding.state for finding in found] == ["ok", "ok", state, state, "wrong"]
    assert said in found[2].message
    assert "refuses every encoder" in found[-1].message


def test_findings_cross_as_notes(tmp_path, encoder):
    file = tmp_path / "noted_explainer.py"
    file.write_text(SOURCE.replace("BODY", "pass"))
    explainer = contract.contract_explainer(file, "Missing", DECLARED)()
    found = contract.read_findings(
        explainer.explain(encoder, encoder.pair(contract._picture(0), "a star"), np.random.default_rng(0))
    )
    assert found[0].state == "wrong"
    assert "has no explainer called Missing" in found[0].message


def test_small_encoders_differ_in_grid_and_pooling():
    found = {name: build() for name, build in contract.SMALL.items()}
    assert {encoder.patch_grid for encoder in found.values()} == {(4, 4), (5, 5), (2, 3)}
    assert sum(encoder.has_tower("image") for encoder in found.values()) == 2
    assert {encoder.image.pooling for encoder in found.values() if encoder.has_tower("image")} == {"class_token", "attention"}


def example(name: str) -> tuple[type, dict[str, object]]:
    manifest = read_manifest(EXAMPLES / name)
    found = contract._imported(EXAMPLES / name / manifest.file, manifest.kind)
    assert isinstance(found, type)
    return found, manifest.values


def test_direct_effects_and_the_rest_add_up_to_the_similarity(encoder):
    kind, _ = example("clip_decomposition")
    pair = encoder.pair(contract._picture(1), "a red star above a large blue circle")
    tower = encoder.image
    found = kind(layers=tower.depth).explain(encoder, pair, np.random.default_rng(0))
    assert found.similarity == pytest.approx(encoder.similarity(pair), abs=1e-5)
    # what is left after the attention of all patches is taken out of the class token's stream, the norm's scale held
    with torch.no_grad():
        state, text = encoder.image_state(pair.pixel_values), encoder.embed_texts(pair.input_ids)[0]
        rest = state.hidden[0, 0].clone()
        for layer in range(tower.depth):
            step, block = tower.step(state, layer), tower.blocks[layer]
            heads = step.attention[0, :, 0, 0][:, None] * step.value[0, 0].view(block.heads, -1)  # the class token's own
            own = block.out(heads.reshape(1, -1))[0]
            attended = block.out(step.heads)[0, 0]
            rest = rest + own + (step.output[0, 0] - step.input[0, 0] - attended)  # itself, the bias, and the MLP
            state = state.at(step.output)
        pooled = state.hidden[0, 0]
        embedding = tower.project(tower.norm(pooled)[None])[0]
        scale = (pooled.var(unbiased=False) + tower.norm.eps).rsqrt()
        left = tower.project(((rest - rest.mean()) * scale * tower.norm.weight + tower.norm.bias)[None])[0]
    total = found.image.sum() + float(left @ text / embedding.norm())
    assert total == pytest.approx(found.similarity, abs=1e-4)


def test_dependence_finds_the_player_that_matters_and_its_sign():
    kind, _ = example("hsic_attribution")
    module = sys.modules[kind.__module__]
    rng = np.random.default_rng(0)
    kept = module._balanced(400, 6, rng)
    values = 0.3 * kept[:, 1] - 0.2 * kept[:, 4] + 0.001 * rng.standard_normal(400)
    scores = kind()._scores(kept, values)
    assert np.argmax(scores) == 1
    assert np.argmin(scores) == 4
    assert np.abs(scores[[0, 2, 3, 5]]).max() < 0.1 * np.abs(scores[[1, 4]]).min()
    assert (kind(signed=False)._scores(kept, values) >= 0).all()
    assert (kind()._scores(kept, np.ones(400)) == 0).all()
    kernel = np.where(kept[:, :1] == kept[:, 0], 0.5, -0.5)  # the definition, for one player
    centring = np.eye(400) - 1 / 400
    wanted = np.trace(kernel @ centring @ module._kernel(values) @ centring) / 399**2
    assert kind(signed=False)._scores(kept, values)[0] == pytest.approx(wanted, rel=1e-6)
