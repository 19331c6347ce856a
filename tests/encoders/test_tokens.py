import open_clip
import pytest

from benchmark.encoders import wrap_encoder
from benchmark.encoders.tokens import align, tokens_of_span
from benchmark.errors import InvalidInput
from tests.encoders.small_encoders import (
    bpe_clip,
    bpe_tokenizer,
    clip_processor,
    hf_siglip,
    siglip_processor,
    word_clip,
    word_tokenizer,
)

TOKENIZER = open_clip.SimpleTokenizer()


def pieces_of(text):
    return [TOKENIZER.decode([token]).strip() for token in TOKENIZER.encode(text)]


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("A Photo of TWO Dogs.", "TWO Dogs"),
        ("a red car, a blue car", "blue car"),
        ("cat, cat, cat and a cat", "cat and a cat"),
        ("a naïve Café owner smiles", "Café owner"),
        ("the score is 1234567 points", "1234567"),
        ("an electroencephalographically odd word", "electroencephalographically"),
        ("a well-known actor's hat", "well-known"),
        ("a well-known actor's hat", "actor's hat"),
        ("fish &amp; chips on a plate", "chips"),
        ("two   spaces\tand a tab", "a tab"),
        ("日本 flag and a dog", "a dog"),
        ("smile 😀 at the dog", "the dog"),
        ("𝓯ancy letters here", "letters"),
    ],
)
def test_a_span_becomes_exactly_the_tokens_of_its_words(text, phrase):
    start = text.index(phrase)
    pieces = pieces_of(text)
    offsets = align(text, pieces)
    chosen = tokens_of_span(offsets, (start, start + len(phrase)))
    n_before = len(pieces_of(text[:start])) if text[:start].strip() else 0
    assert chosen == tuple(range(n_before, n_before + len(pieces_of(phrase))))


def test_tokens_that_part_a_character_share_it():
    pieces = ["a", "\ufffd", "\ufffd", "b"]
    assert align("a ☃ b", pieces) == ((0, 1), (2, 3), (2, 3), (4, 5))


def test_characters_that_the_tokenizer_dropped_belong_to_no_token():
    assert align("Hello, WORLD!", ["hello", "world"]) == ((0, 5), (7, 12))
    assert align("it's", ["its"]) == ((0, 4),)


def test_a_truncated_text_places_its_beginning():
    assert align("a red cat and a red cat", ["a", "red"]) == ((0, 1), (2, 5))


def test_nothing_is_placed_where_there_is_nothing():
    assert align("a", ["a", ""]) == ((0, 1), None)
    assert align("", ["a"]) == (None,)


def test_a_fast_tokenizer_places_pieces_of_words_and_accents():
    encoder = wrap_encoder(bpe_clip(), clip_processor(), bpe_tokenizer())
    text = "Red  CATS, café 12"
    tokens = encoder.tokenize(text)
    assert tokens.offsets is not None
    for phrase in ("Red", "CATS", "café", "12"):
        start = text.index(phrase)
        chosen = tokens_of_span(tokens.offsets, (start, start + len(phrase)))
        assert "".join(text[slice(*tokens.offsets[i])] for i in chosen).replace("éé", "é") == phrase
    assert tokens.pieces[0] == "red"
    assert all(tokens.ids[i] not in encoder.tokenizer.all_special_ids for i in tokens.positions)


def test_an_unknown_word_is_a_player_and_specials_are_not():
    from PIL import Image

    encoder = wrap_encoder(word_clip(), clip_processor(), word_tokenizer())
    pair = encoder.pair(Image.new("RGB", (40, 30)), "A red zebra, no star")
    assert pair.tokens == ("a", "red", "[UNK]", ",", "no", "star")
    assert pair.token_positions == (1, 2, 3, 4, 5, 6)
    assert pair.tokens_of((6, 11)) == (2,)
    assert encoder.mask_token_id == 2


def test_an_over_long_text_is_refused_with_counts_or_cut_on_request():
    from PIL import Image

    image = Image.new("RGB", (32, 32))
    for encoder in (
        wrap_encoder(word_clip(), clip_processor(), word_tokenizer()),
        wrap_encoder(open_clip_with_vocabulary(12), lambda _: None, open_clip.SimpleTokenizer(context_length=12)),
    ):
        text = "a red star and a blue circle on the big red cat"
        with pytest.raises(InvalidInput, match="the text has 12 tokens; custom reads at most 10: shorten it"):
            encoder.pair(image, text) if encoder.family != "open_clip" else pair_text(encoder, text)
        tokens = encoder.tokenize(text)
        assert tokens.overflow == 2
        assert tokens.pieces[-1] == "big"
    encoder = wrap_encoder(word_clip(), clip_processor(), word_tokenizer())
    pair = encoder.pair(image, text, truncate=True)
    assert pair.n_tokens == 10
    assert pair.tokens_of((text.index("star"), text.index("star") + 4)) == (2,)
    assert pair.tokens_of((text.index("cat"), text.index("cat") + 3)) == ()
    assert not encoder.tokenize("a red star and a blue circle on the big").overflow


def open_clip_with_vocabulary(context):
    vision = {"layers": 1, "width": 32, "head_width": 8, "patch_size": 8, "image_size": 32}
    text = {"context_length": context, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 1}
    return open_clip.CLIP(24, vision, text).eval()


def pair_text(encoder, text):
    """Pair a text with an image, through open_clip's own transform."""
    from PIL import Image

    encoder.processor = open_clip.image_transform(32, is_train=False)
    return encoder.pair(Image.new("RGB", (32, 32)), text)


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_text_is_refused(text):
    from PIL import Image

    encoder = wrap_encoder(word_clip(), clip_processor(), word_tokenizer())
    with pytest.raises(InvalidInput, match="has no content tokens"):
        encoder.pair(Image.new("RGB", (32, 32)), text)


def test_siglip_offsets_point_into_the_text_as_given():
    from PIL import Image

    encoder = wrap_encoder(hf_siglip(0, 4), siglip_processor(), word_tokenizer(begin=False))
    pair = encoder.pair(Image.new("RGB", (50, 30)), "The BIG Red Star")
    assert pair.tokens == ("the", "big", "red", "star")
    assert pair.offsets == ((0, 3), (4, 7), (8, 11), (12, 16))
    assert pair.tokens_of((8, 16)) == (2, 3)
