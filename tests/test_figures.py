import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from PIL import Image

from benchmark.data.base import Region
from benchmark.errors import InvalidExplanation
from benchmark.explanations import Explanation, Players
from benchmark.figures import draw_explanations

TOKENS = ["two", "dogs</w>", "cost", "$5", "$6"]
GRID = (4, 6)


def photograph(width: int = 60, height: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def words(figure: Figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def links(figure: Figure) -> list[PathPatch]:
    return [patch for ax in figure.axes for patch in ax.patches if isinstance(patch, PathPatch)]


def draw(explanation: Explanation, **options: object) -> Figure:
    return draw_explanations(photograph(), "Two dogs cost $5 or $6", TOKENS, {"a_method": explanation}, **options)  # type: ignore[arg-type]


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def ramp(*shape: int) -> np.ndarray:
    return np.linspace(-0.5, 1, int(np.prod(shape))).reshape(shape)


def test_a_panel_shows_name_tokens_caption_and_the_largest_values_with_their_unit() -> None:
    players = Players(np.zeros(29))
    shown = words(draw(Explanation(image=ramp(*GRID), text=0.25 * ramp(5), players=players), title="A title"))
    assert {"A title", "a_method", "two", "dogs", "cost", "$5", "$6", "Two dogs cost $5 or $6"} <= set(shown)
    assert {"image: max |value| 1 cosine", "text: max |value| 0.25 cosine"} <= set(shown)


def test_without_a_surrogate_the_unit_is_the_methods_own() -> None:
    shown = words(draw(Explanation(image=-3 * ramp(*GRID))))
    assert {"image: max |value| 3 own unit", "no text scores"} <= set(shown)
    assert "image: max |value| 1 logit" in words(draw(Explanation(image=ramp(*GRID), notes={"unit": "logit"})))


def test_constant_maps_are_flagged() -> None:
    shown = words(draw(Explanation(image=np.full(GRID, 0.3), text=np.zeros(5), cross=np.ones((*GRID, 5)))))
    assert {"constant", "image: constant (0.3)", "text: constant (0)", "pairs: constant (1)"} <= set(shown)
    assert "no image scores" in words(draw(Explanation(text=ramp(5))))


def test_links_join_the_strongest_pairs_centre_to_token_with_colour_by_sign() -> None:
    cross = np.zeros((*GRID, 5))
    cross[0, 0, 1], cross[3, 5, 4], cross[2, 2, 2] = 0.5, -1.0, 0.1
    figure = draw(Explanation(cross=cross), n_links=2)
    weak, strong = links(figure)
    assert "top 2 pairs: max |value| 1 own unit" in words(figure)
    assert strong.get_linewidth() > weak.get_linewidth()
    red, _, blue, _ = weak.get_edgecolor()
    assert red > blue
    red, _, blue, _ = strong.get_edgecolor()
    assert blue > red
    ax = figure.axes[2]
    image = ax.images[0].get_extent()
    (x, y), _, (end, foot) = weak.get_path().vertices
    assert x == pytest.approx(image[1] / 12)
    assert y == pytest.approx(image[3] + (image[2] - image[3]) / 8)
    label = next(text for text in ax.texts if text.get_text() == "dogs")
    assert end == pytest.approx(label.get_position()[0])
    assert foot < label.get_position()[1]


def test_zero_pairs_have_no_link() -> None:
    cross = np.zeros((*GRID, 5))
    cross[1, 1, 1] = 1
    assert len(links(draw(Explanation(cross=cross)))) == 1


def test_a_positive_patch_is_red_a_negative_one_blue_and_zero_grey() -> None:
    scores = np.zeros(GRID)
    scores[0, 0], scores[3, 5] = 2, -1
    for smooth in (False, True):
        image = draw(Explanation(image=scores), smooth=smooth).axes[2].images[0].get_array()
        red, blue, grey = image[3, 3].astype(int), image[-4, -4].astype(int), image[3, -4].astype(int)
        assert red[0] > red[2] + 30
        assert blue[2] > blue[0] + 15
        assert np.ptp(grey) <= 1


def test_regions_are_outlined_by_mask_or_else_by_each_box() -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:20, 10:30] = True
    boxes = np.array([[10.0, 10, 30, 20], [40, 30, 60, 40]])
    masked = draw(Explanation(image=ramp(*GRID)), regions=[("dog", Region(boxes=boxes, mask=mask))]).axes[1]
    boxed = draw(Explanation(image=ramp(*GRID)), regions=[("dog", Region(boxes=boxes))]).axes[1]
    assert "dog" in [text.get_text() for text in masked.texts]
    assert not [patch for patch in masked.patches if isinstance(patch, Rectangle)]
    (outline,) = (np.concatenate(found.get_paths()[0].to_polygons()) for found in masked.collections)
    scale = masked.images[0].get_extent()[1] / 60
    np.testing.assert_allclose([outline[:, 0].min(), outline[:, 0].max()], [10 * scale, 30 * scale], atol=0.6 * scale)
    first, second = (patch for patch in boxed.patches if isinstance(patch, Rectangle))
    assert first.get_x() == pytest.approx(10 * scale)
    assert second.get_width() == pytest.approx(20 * scale)


def test_text_of_another_length_than_the_tokens_is_an_error() -> None:
    with pytest.raises(InvalidExplanation, match="a_method has text scores of 4 tokens; this text has 5"):
        draw(Explanation(text=ramp(4)))
    with pytest.raises(InvalidExplanation, match="a_method has cross scores of 6 tokens"):
        draw(Explanation(cross=ramp(*GRID, 6)))


@pytest.mark.parametrize("n_methods", [0, 1, 3, 4, 12])
def test_every_method_has_a_panel_and_the_page_is_of_readable_width(n_methods: int) -> None:
    explanations = {f"method {i}": Explanation(image=ramp(*GRID), text=ramp(5)) for i in range(n_methods)}
    figure = draw_explanations(photograph(), "Two dogs", TOKENS, explanations)
    assert {text for text in words(figure) if text.startswith("method")} == set(explanations)
    width, height = figure.get_size_inches() * figure.dpi
    assert (1000 if n_methods else 500) <= width <= 1600
    assert pixels(figure).shape == (int(height), int(width), 4)


def test_long_captions_many_tokens_and_endless_names_stay_inside_their_panels() -> None:
    tokens = [f"token{i}" * (1 + i % 3) for i in range(64)] + ["endless" * 30]
    explanation = Explanation(
        image=ramp(*GRID), text=ramp(65), cross=ramp(*GRID, 65), notes={"unit": "a unit of many words " * 3}
    )
    names = {"name" * 30: explanation, "short": explanation, "other": explanation}
    figure = draw_explanations(photograph(40, 60), "word " * 70, tokens, names, title="many words " * 40)
    pixels(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for ax in figure.axes:
        frame = ax.get_window_extent(renderer).padded(4)
        for text in ax.texts:
            box = text.get_window_extent(renderer)
            assert frame.x0 <= box.x0
            assert box.x1 <= frame.x1, text.get_text()
            assert frame.y0 <= box.y0, text.get_text()
            assert box.y1 <= frame.y1


def test_drawing_leaves_matplotlibs_global_state_and_the_inputs_alone() -> None:
    import sys

    scores = ramp(*GRID)
    before = scores.copy(), dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels(draw(Explanation(image=scores)))
    np.testing.assert_array_equal(scores, before[0])
    assert dict(matplotlib.rcParams) == before[1]
    if "matplotlib.pyplot" in sys.modules:
        assert not sys.modules["matplotlib.pyplot"].get_fignums()


def test_the_same_input_draws_the_same_pixels() -> None:
    explanation = Explanation(image=ramp(*GRID), text=ramp(5), cross=ramp(*GRID, 5))
    np.testing.assert_array_equal(pixels(draw(explanation)), pixels(draw(explanation)))
