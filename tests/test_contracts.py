"""What everything registered promises: every explainer on every encoder family."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import benchmark as xb
from benchmark.data.base import Phrase, Region, Sample
from benchmark.encoders import DualEncoder, Pair, wrap_encoder
from benchmark.errors import InvalidInput, UnknownName, UnsupportedEncoder
from benchmark.explainers import EXPLAINERS, Explainer, TruthReader
from benchmark.explainers.passes import PassExplainer
from benchmark.explaining import explain
from benchmark.explanations import Explanation
from tests.small_encoders import FAMILIES, picture

TEXT = "a red star"
SMALL: dict[str, dict[str, Any]] = {"fixlip": {"image_budget": 128, "text_budget": 7}, "rise": {"n_masks": 40}}
"""Parameters that keep a method quick here; a new method needs none unless its defaults are slow."""
STEADY: dict[str, dict[str, Any]] = {"legrad": {"correction": False}}
"""Parameters without which rounding alone moves a result: a map that is cut at a threshold jumps."""
GUIDE = Path(__file__).resolve().parents[1] / "docs" / "writing_an_explainer.md"


@pytest.fixture(params=FAMILIES)
def encoder(request) -> DualEncoder:
    return FAMILIES[request.param]()


@pytest.fixture
def pair(encoder) -> Pair:
    return encoder.pair(picture(), TEXT)


@pytest.fixture(params=EXPLAINERS)
def explainer(request) -> Explainer:
    return EXPLAINERS[request.param].configure(SMALL.get(request.param, {}))


@pytest.fixture
def run(explainer, encoder, pair) -> Callable[..., Explanation]:
    """Run the explainer as the runner would; what the encoder cannot serve must be refused in one sentence."""
    reason = explainer.unsupported(encoder)
    if reason is not None:
        assert len(reason.split()) > 3, reason
        assert "\n" not in reason
        with pytest.raises(UnsupportedEncoder, match=reason.split(";")[0]):
            explain(encoder, pair, explainer.name)
        pytest.skip(f"refused: {reason}")

    def explained(seed: int = 0) -> Explanation:
        if isinstance(explainer, TruthReader):
            star = Phrase(span=(2, 10), region=Region(boxes=np.array([[12.0, 8.0, 28.0, 24.0]])))
            return explainer.explain_sample(
                encoder, pair, Sample(id="one", image=picture(), text=TEXT, cluster="one", phrases=(star,))
            )
        return explainer.explain(encoder, pair, np.random.default_rng(seed))

    return explained


def fingerprint(encoder: Any) -> str:
    """Hash every weight and buffer."""
    digest = sha256()
    for name, tensor in encoder.model.state_dict().items():
        digest.update(name.encode() + tensor.detach().numpy().tobytes())
    return digest.hexdigest()


def hooks_of(encoder: Any) -> int:
    """Count the hooks on an encoder's modules; transformers leaves some of its own after a pass that records outputs."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return sum(len(getattr(module, kind)) for module in encoder.model.modules() for kind in kinds)


@pytest.fixture
def untouched() -> Callable[[DualEncoder], bool]:
    """Tell whether no trace, gradient or new hook is left on an encoder since the test began."""
    encoders = {id(found): (found, hooks_of(found)) for found in (build() for build in FAMILIES.values())}

    def check(encoder: Any) -> bool:
        gradients = any(parameter.grad is not None for parameter in encoder.model.parameters())
        traces = encoder.image.traces or encoder.text.traces
        return not gradients and not traces and hooks_of(encoder) == encoders[id(encoder)][1]

    return check


def test_explanation_fits_the_pair_and_is_finite(run, explainer, encoder, pair):
    explanation = run()
    explanation.check(encoder.patch_grid, pair.n_tokens)  # finiteness is checked when an explanation is made
    given = {name for name in ("image", "text", "cross") if getattr(explanation, name) is not None}
    given |= {"surrogate"} if explanation.players is not None else set()
    assert given == set(explainer.yields)
    assert Explanation.from_bytes(explanation.to_bytes()).to_bytes() == explanation.to_bytes()


def test_same_seed_gives_the_same_bytes_and_a_deterministic_method_needs_none(run, explainer):
    first = run(seed=3).to_bytes()
    assert run(seed=3).to_bytes() == first
    assert (run(seed=4).to_bytes() == first) == explainer.deterministic


def test_encoder_pair_and_global_state_are_left_as_they_were(run, encoder, pair, untouched):
    weights, pixels, ids = fingerprint(encoder), pair.pixel_values.clone(), pair.input_ids.clone()
    numpy_state, torch_state = np.random.get_state()[1].tobytes(), torch.get_rng_state()  # noqa: NPY002  # what is looked at
    run()
    assert fingerprint(encoder) == weights
    assert untouched(encoder)
    assert torch.equal(pair.pixel_values, pixels)
    assert not pair.pixel_values.requires_grad
    assert torch.equal(pair.input_ids, ids)
    assert np.random.get_state()[1].tobytes() == numpy_state  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("broken", ["image", "text"])
def test_nothing_is_left_behind_after_an_exception(run, encoder, monkeypatch, broken, untouched):
    before = run().to_bytes()

    def fail(*_: Any) -> Any:
        raise RuntimeError("broken on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(encoder.image if broken == "image" else encoder.text, "project", fail)
        try:
            run()
        except RuntimeError as error:
            assert "on purpose" in str(error)  # noqa: PT017  # controls never reach the tower and do not raise
        assert untouched(encoder)
        assert torch.is_grad_enabled()
    assert run().to_bytes() == before


def test_pairs_in_one_list_are_explained_as_alone(explainer, encoder, untouched):
    if isinstance(explainer, TruthReader) or explainer.unsupported(encoder):
        pytest.skip("refused, or run on samples alone")
    texts = (TEXT, "the blue circle on the left", "star", "a red star and square")
    pairs = [encoder.pair(picture(i % 3), text) for i, text in enumerate(texts)]
    shorter = pairs[2].input_ids[:, :6] if encoder.text.causal else pairs[2].input_ids
    pairs.append(encoder.pair_from_tensors(pairs[2].pixel_values, shorter))
    together = explainer.explain_pairs(encoder, pairs, [np.random.default_rng(i) for i in range(len(pairs))])
    assert untouched(encoder)
    for i, (pair, found) in enumerate(zip(pairs, together, strict=True)):
        alone = explainer.explain(encoder, pair, np.random.default_rng(i))
        assert found.arrays().keys() == alone.arrays().keys()
        scale = max(np.abs(array).max() for array in alone.arrays().values())
        for name, array in alone.arrays().items():
            assert np.abs(found.arrays()[name] - array).max() <= 1e-5 * scale, name
        assert (found.similarity is None) == (alone.similarity is None)
        assert (found.similarity or 0.0) == pytest.approx(alone.similarity or 0.0, abs=1e-5)


@pytest.mark.parametrize("method", [name for name, kind in EXPLAINERS.items() if issubclass(kind, PassExplainer)])
def test_a_list_of_pairs_shares_passes(method, encoder, monkeypatch):
    explainer, runs = EXPLAINERS[method].configure({}), []
    if reason := explainer.unsupported(encoder):
        pytest.skip(f"refused: {reason}")
    pairs = [encoder.pair(picture(seed), TEXT) for seed in range(3)]
    for tower in (encoder.image, encoder.text):
        monkeypatch.setattr(tower, "embed", lambda *inputs, embed=tower.embed: runs.append(1) or embed(*inputs))
    explainer.explain_pairs(encoder, pairs[:1], [np.random.default_rng(0)])
    alone = len(runs)
    explainer.explain_pairs(encoder, pairs, [np.random.default_rng(0)] * 3)
    assert len(runs) == 2 * alone > 0


def test_a_list_of_pairs_gives_a_list_in_its_order(encoder):
    pairs = [encoder.pair(picture(seed), TEXT) for seed in (0, 1)]
    found = explain(encoder, pairs, "raw_attention")
    assert isinstance(found, list)
    for pair, one in zip(pairs, found, strict=True):
        np.testing.assert_allclose(one.image, explain(encoder, pair, "raw_attention").image, rtol=1e-5)
    assert explain(encoder, [], "raw_attention") == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_half_precision_is_close_to_single(explainer, encoder, dtype):
    if isinstance(explainer, TruthReader) or explainer.unsupported(encoder):
        pytest.skip("refused, or run on samples alone")
    half, parameters = in_half(encoder, dtype), SMALL.get(explainer.name, {}) | STEADY.get(explainer.name, {})
    for seed, text in ((0, "the blue circle on the left"), (3, "a red star and square")):
        pair = encoder.pair(picture(seed), text)
        single, rough = (explain(one, pair, explainer.name, **parameters) for one in (encoder, half))
        for name in ("image", "text", "cross"):
            wanted, found = getattr(single, name), getattr(rough, name)
            if wanted is not None and np.ptp(wanted) > 0:
                assert np.corrcoef(wanted.ravel(), found.ravel())[0, 1] > 0.95, name
            elif wanted is not None:
                np.testing.assert_allclose(found, wanted, atol=0.02, err_msg=name)


def in_half(encoder: Any, dtype: torch.dtype) -> DualEncoder:
    """Return an encoder's copy with its weights in half precision, checked as any other."""
    return wrap_encoder(deepcopy(encoder.model).to(dtype), encoder.processor, encoder.tokenizer, name=f"{encoder.name}-{dtype}")


def test_a_second_caption_costs_fixlip_no_image_forward_and_changes_nothing(encoder):
    explainer = EXPLAINERS["fixlip"].configure(SMALL["fixlip"])
    first, second = (encoder.pair(picture(7), text) for text in (TEXT, "the blue circle on the left"))
    explainer.explain(encoder, first, np.random.default_rng(0))
    before = encoder.costs.copy()
    cached = explainer.explain(encoder, second, np.random.default_rng(1))
    spent = encoder.costs - before
    assert spent.image_forwards == 0
    assert spent.text_forwards > 0
    fresh = wrap_encoder(encoder.model, encoder.processor, encoder.tokenizer, name="fresh")
    again = explainer.explain(fresh, fresh.pair(picture(7), "the blue circle on the left"), np.random.default_rng(1))
    assert fresh.costs.image_forwards > 100
    assert again.to_bytes() == cached.to_bytes()
    other = replace(explainer, image_seed=1).explain(encoder, second, np.random.default_rng(1))
    assert (other.image != cached.image).any()


def test_what_a_method_declares_is_there(explainer):
    assert explainer.name in EXPLAINERS
    assert type(explainer).version >= 1
    assert set(explainer.yields) <= {"image", "text", "cross", "surrogate"}
    assert explainer.yields
    assert type(explainer).__doc__
    assert explainer.baseline or (explainer.paper and explainer.bibtex and explainer.published)


def test_unknown_method_and_parameter_are_answered_with_what_is_known():
    encoder = FAMILIES["huggingface-clip"]()
    pair = encoder.pair(picture(), TEXT)
    with pytest.raises(UnknownName, match="Did you mean 'grad_eclip'"):
        explain(encoder, pair, "grad_eklip")
    with pytest.raises(InvalidInput, match="rise has no parameter 'masks'"):
        explain(encoder, pair, "rise", masks=3)


def test_public_name_stays_the_function():
    assert callable(xb.explain)
    assert xb.explain is explain is xb.explain


def test_the_guides_examples_run(monkeypatch, untouched):
    blocks = [block.split("```")[0] for block in GUIDE.read_text().split("```python\n")[1:]]
    assert len(blocks) == 2
    monkeypatch.setattr(EXPLAINERS, "_items", dict(EXPLAINERS))  # what the guide registers is gone after this test
    space: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), space)
    encoder = FAMILIES["open_clip"]()
    pair = encoder.pair(picture(), TEXT)
    surrogate = explain(encoder, pair, "coalition_means", n_coalitions=64)
    assert surrogate.players is not None
    explanation = explain(encoder, pair, "last_attention")
    assert explanation.image is not None
    assert (explanation.image > 0).all()
    assert untouched(encoder)
    siglip = FAMILIES["huggingface-siglip"]()
    with pytest.raises(UnsupportedEncoder, match="class token"):
        explain(siglip, siglip.pair(picture(), TEXT), "last_attention")
