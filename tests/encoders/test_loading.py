import json
import time

import open_clip
import pytest
import torch
from PIL import Image

from benchmark.encoders import KNOWN, choose_device, load_encoder
from benchmark.errors import BenchmarkError, InvalidInput, UnknownName
from tests.encoders.small_encoders import (
    bpe_clip,
    bpe_tokenizer,
    clip_processor,
    hf_siglip,
    open_clip_model,
    siglip_processor,
    word_clip,
    word_tokenizer,
)

HUGGING_FACE = {
    "word level": (word_clip, word_tokenizer, clip_processor),
    "byte pairs": (bpe_clip, bpe_tokenizer, clip_processor),
    "siglip": (lambda: hf_siglip(0, 4), lambda: word_tokenizer(begin=False), siglip_processor),
}


@pytest.mark.parametrize("kind", HUGGING_FACE)
def test_a_hugging_face_folder_is_loaded(kind, tmp_path):
    for part in HUGGING_FACE[kind]:
        part().save_pretrained(tmp_path / "mine")
    encoder = load_encoder(str(tmp_path / "mine"), "cpu")
    assert encoder.name == "mine"
    assert len(encoder.revision or "") == 12
    pair = encoder.pair(Image.new("RGB", (60, 40), "red"), "A red cat")
    assert "".join(pair.tokens) == "aredcat"
    assert -1 <= encoder.similarity(pair) <= 1
    assert load_encoder(str(tmp_path / "mine"), "cpu").revision == encoder.revision
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    (tmp_path / "mine" / "config.json").write_text(json.dumps(config | {"note": "changed"}))
    assert load_encoder(str(tmp_path / "mine"), "cpu").revision != encoder.revision


def test_an_open_clip_folder_is_loaded(tmp_path):
    vision = {"layers": 1, "width": 32, "head_width": 8, "patch_size": 8, "image_size": 32}
    text = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 1}
    model = open_clip.CLIP(24, vision, text)
    settings = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {"mean": [0.5] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(settings))
    torch.save(model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    encoder = load_encoder(str(tmp_path), "cpu")
    assert encoder.family == "open_clip"
    assert encoder.context_length == 12
    pair = encoder.pair(Image.new("RGB", (60, 40), "red"), "A RED cat.")
    assert pair.tokens == ("a", "red", "cat", ".")
    assert pair.tokens_of((2, 5)) == (1,)
    image = encoder.library_image_embeddings(pair.pixel_values)
    torch.testing.assert_close(image, model.eval().encode_image(pair.pixel_values))


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'embedded'"):
        load_encoder("embeded")
    with pytest.raises(UnknownName, match="Did you mean 'ViT-B-32'"):
        load_encoder("open_clip:ViT-B32/openai")
    with pytest.raises(UnknownName, match="no pretrained tag of ViT-B-32 is called 'laion2b'"):
        load_encoder("open_clip:ViT-B-32/laion2b")
    assert "embedded" in KNOWN


def test_a_folder_that_is_not_there_or_holds_no_model_is_said_so(tmp_path):
    with pytest.raises(InvalidInput, match="there is no folder"):
        load_encoder(str(tmp_path / "nothing"))
    with pytest.raises(InvalidInput, match="holds neither"):
        load_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "clip"')
    with pytest.raises(BenchmarkError, match="no encoder could be loaded as"):
        load_encoder(str(tmp_path), "cpu")


def test_a_damaged_weight_file_is_said_so(tmp_path):
    for part in HUGGING_FACE["word level"]:
        part().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BenchmarkError, match="no encoder could be loaded as"):
        load_encoder(str(tmp_path), "cpu")


def test_a_hub_id_fails_at_once_without_a_network(monkeypatch):
    def no_network(*_: object) -> None:
        raise OSError("name does not resolve")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    monkeypatch.setattr("benchmark.encoders.getproxies", dict)
    for name in ("nobody/nothing-at-all", "open_clip:RN50-quickgelu/cc12m"):
        start = time.perf_counter()
        with pytest.raises(BenchmarkError, match="could"):
            load_encoder(name, "cpu")
        assert time.perf_counter() - start < 20


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "cpu!"])
def test_a_bad_device_is_refused(device):
    with pytest.raises(InvalidInput, match=r"use auto"):
        load_encoder("embedded", device)


def test_auto_is_a_device_that_is_there():
    assert choose_device("auto").type in ("cpu", "cuda")


def test_random_weights_of_open_clip_are_always_the_same(monkeypatch):
    small = open_clip_model()
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda *_, **__: open_clip.SimpleTokenizer(context_length=12))
    created = []

    def create(*_: object, **__: object) -> tuple[object, None, object]:
        created.append(float(torch.rand(1)))
        return small, None, open_clip.image_transform(32, is_train=False)

    monkeypatch.setattr(open_clip, "create_model_and_transforms", create)
    first, second = load_encoder("open_clip:ViT-B-32", "cpu"), load_encoder("open_clip:ViT-B-32", "cpu")
    assert created[0] == created[1]
    assert first.revision == second.revision == "random-weights-0"
