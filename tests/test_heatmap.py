"""Heat maps of one explanation: what a reader sees must follow the scores and show the prompt as it is."""

import json
import re
import struct
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.contour import ContourSet
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from atman_bench.core.errors import ConfigError
from atman_bench.core.records import PatchUnits
from atman_bench.report import heatmap_png
from atman_bench.report._overlay import scale_of
from atman_bench.report.heatmap import Grid, HeatMap, as_dict, colour, find_phrase, ink
from atman_bench.report.heatmap_page import to_html
from atman_bench.report.heatmap_png import to_figure, to_png
from atman_bench.report.heatmap_terminal import to_terminal

PROMPT = "The <b>cat</b> & dog.\nQ: who?"
HEAT = HeatMap(
    caption="tiny-text · atman",
    texts=("The", " <b>cat</b>", " & dog.", "\n"),
    scores=np.array([0.0, 2.0, -1.0, 0.5], np.float32),
    target_texts=(" the", " cat"),
    per_target=np.array([[0.0, 3.0, -1.0, 0.0], [0.0, 1.0, -1.0, 1.0]], np.float32),
    prompt=PROMPT,
    spans=((0, 3), (3, 14), (14, 21), (21, 22)),
)


@pytest.mark.parametrize(
    ("score", "expected"),
    [(0.0, "#ffffff"), (2.0, colour(1, 1)), (-2.0, colour(-1, 1)), (-9.0, colour(-1, 1)), (9.0, colour(1, 1))],
)
def test_colour_runs_from_white_to_full_and_clips(score, expected):
    assert colour(score, 2.0) == expected


def test_positive_is_red_and_negative_is_blue():
    red, blue = (tuple(int(colour(s, 1)[i : i + 2], 16) for i in (1, 3, 5)) for s in (1, -1))
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_colour_is_linear_in_the_score():
    half = [int(colour(0.5, 1)[i : i + 2], 16) for i in (1, 3, 5)]
    full = [int(colour(1, 1)[i : i + 2], 16) for i in (1, 3, 5)]
    assert half == pytest.approx([(255 + channel) / 2 for channel in full], abs=1)


@pytest.mark.parametrize(
    ("scores", "scale"), [([1.0, 3.0, -9.0], 3.0), ([-1.0, -4.0], 4.0), ([0.0, 0.0], 0.0), ([], 0.0)]
)
def test_the_scale_is_the_largest_positive_score_where_there_is_one(scores, scale):
    assert scale_of(np.array(scores, np.float32)) == scale


def test_a_map_of_zeros_is_white():
    assert colour(0.0, 0.0) == "#ffffff"


def test_text_is_readable_on_every_background():
    assert ink(colour(0, 1)) == "#000000"
    assert ink(colour(-1, 1)) == "#ffffff"


def test_pieces_restore_the_prompt_with_what_is_not_explained():
    assert "".join(piece.text for piece in HEAT.pieces) == PROMPT
    assert [piece.unit for piece in HEAT.pieces] == [0, 1, 2, 3, None]


def test_units_that_share_a_character_stay_visible():
    heat = replace(HEAT, prompt="é!", texts=("é", "é", "!"), spans=((0, 1), (0, 1), (1, 2)), scores=np.ones(3))
    assert [piece.text for piece in heat.pieces] == ["é", "·", "!"]


def test_a_special_token_is_shown_though_the_prompt_lacks_it():
    heat = replace(HEAT, prompt="hi", texts=("<bos>", "hi"), spans=((0, 0), (0, 2)), scores=np.ones(2))
    assert [piece.text for piece in heat.pieces] == ["<bos>", "hi"]


def test_without_a_prompt_the_units_are_shown():
    heat = replace(HEAT, prompt=None, spans=None)
    assert [piece.text for piece in heat.pieces] == list(HEAT.texts)


def test_the_terminal_lists_the_highest_words_and_then_shows_the_prompt_once():
    text = to_terminal(HEAT).plain
    assert text.count("The <b>cat</b> & dog.↵\nQ: who?") == 1
    assert text.index("<b>cat</b>  characters 3 to 14") < text.index("The <b>cat</b> & dog.")
    assert "target token 1 “the”: “<b>cat</b>” 3" in text


def test_words_are_sums_of_their_tokens():
    heat = HeatMap("c", ("un", "believ", "able", "!"), np.array([1.0, 2.0, -0.5, 4.0]), ("x",), prompt="unbelievable!")
    heat = replace(heat, spans=((0, 2), (2, 8), (8, 12), (12, 13)), noise=1e-3, evidence=np.array([0, 1.0, 0, 0]))
    words = heat.by_words()
    assert words.texts == ("unbelievable", "!")
    assert words.scores.tolist() == [2.5, 4.0]
    assert words.evidence.tolist() == [1, 0]
    assert words.noise == pytest.approx(3e-3)
    assert "unbelievable" in to_terminal(heat).plain


def test_patches_stay_as_they_are_beside_words():
    words = replace(JOINT, prompt="A cats", texts=(*PATCHES.texts, "A", " cat", "s"), scores=np.arange(9.0))
    words = replace(words, spans=(None,) * 6 + ((0, 1), (1, 5), (5, 6))).by_words()
    assert words.scores.tolist() == [0, 1, 2, 3, 4, 5, 6, 15]
    assert words.grids[0].members == slice(0, 6)


def test_what_is_noise_is_said_and_white():
    text = to_terminal(replace(HEAT, per_target=None, scores=HEAT.scores * 1e-9, noise=1e-6))
    assert "nothing moves it beyond numerical noise" in text.plain
    assert not [span for span in text.spans if "on #" in str(span.style) and "#ffffff" not in str(span.style)]


def test_the_terminal_colours_a_unit_by_its_score():
    text = to_terminal(replace(HEAT, per_target=None))
    styles = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert styles[" <b>cat</b>"].endswith(f"on {colour(1, 1)}")
    assert styles["The"].endswith("on #ffffff")


def content_of(page: str) -> dict:
    return json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])


def test_html_is_escaped_and_stands_alone():
    page = to_html([("atman", replace(HEAT, caption="</script><script>alert(1)", texts=("<script>",) * 4))])
    assert page.count("<script") == page.count("</script>") == 2
    assert not re.search(r"https?:|@import|<link|src=\"", page)


def test_html_holds_the_prompt_to_the_character():
    heat = replace(HEAT, prompt=" \n  two  spaces\n\n", texts=("two",), spans=((4, 7),), scores=np.ones(1))
    view = content_of(to_html([("atman", replace(heat, per_target=None))]))["view"]
    assert "".join(text for text, _ in view["pieces"]) == " \n  two  spaces\n\n"


def test_html_has_one_map_for_the_mean_and_one_for_each_target_token():
    def labels(heat: HeatMap) -> list[str]:
        return [found["label"] for found in content_of(to_html([("atman", heat)]))["view"]["methods"][0]["maps"]]

    assert labels(HEAT) == ["all", " the", " cat"]
    assert labels(replace(HEAT, target_texts=(" cat",), per_target=HEAT.scores[None])) == ["all"]


def test_dict_survives_json_and_keeps_every_score():
    data = json.loads(json.dumps(as_dict(HEAT)))
    assert [unit["score"] for unit in data["units"]] == HEAT.scores.tolist()
    assert [PROMPT[slice(*unit["span"])] for unit in data["units"]] == list(HEAT.texts)
    assert data["per_target"] == HEAT.per_target.tolist()


def test_png_grows_with_the_number_of_maps(tmp_path):
    def height(heat: HeatMap) -> int:
        to_png(heat, tmp_path / "map.png")
        return struct.unpack(">I", (tmp_path / "map.png").read_bytes()[20:24])[0]

    assert height(HEAT) > height(replace(HEAT, per_target=None))


def test_many_maps_are_a_grid_and_no_strip():
    """17 maps of 60 words once made 4,356 pixels."""
    words = tuple(f" word{i}" for i in range(60))
    heat = HeatMap("c", words, np.arange(60.0), (" t",) * 16, np.ones((16, 60)))
    figure = to_figure(heat)
    assert figure.get_figheight() < 1.5 * figure.get_figwidth()
    longest = max((text.get_text() for text in figure.findobj(Text)), key=len)
    assert len(longest) <= 96


def test_png_draws_every_script_without_warnings(tmp_path):
    texts = ("東京", " Привет", " नमस्ते", " 🙂", " שלום")
    heat = HeatMap("c", texts, np.arange(5.0), (" t",), prompt="".join(texts))
    ends = np.cumsum([len(text) for text in texts]).tolist()
    to_png(replace(heat, spans=tuple(zip([0, *ends[:-1]], ends, strict=True))), tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_characters_that_no_font_has_are_named_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(heatmap_png, "fonts", lambda: ["DejaVu Sans Mono", "DejaVu Sans"])
    assert heatmap_png.without_glyph("é שלום\n\u200b") == ""
    to_png(
        replace(HEAT, prompt="東京 東京", texts=("東京 東京",), spans=((0, 5),), scores=np.ones(1)), tmp_path / "a.png"
    )
    (record,) = caplog.records
    assert "a.png: no installed font has 東 京, drawn as boxes" in record.getMessage()


def outlines(heat: HeatMap) -> list[float]:
    """Widths of the boxes without a filling, in columns."""
    return [box.get_width() for box in to_figure(heat).findobj(Rectangle) if not box.get_fill()]


def test_png_outlines_the_words_that_are_evidence_neighbours_together():
    assert outlines(replace(HEAT, per_target=None)) == []
    evidence = np.array([1.0, 1.0, 0.0, 0.0])
    assert outlines(replace(HEAT, per_target=None, evidence=evidence)) == [len("The <b>cat</b>")]
    assert len(outlines(replace(HEAT, evidence=evidence))) == 3  # in the map of each target token, too
    says = [text.get_text() for text in to_figure(replace(HEAT, evidence=evidence)).findobj(Text)]
    assert any("outlined: evidence" in text for text in says)


def test_a_long_target_leaves_the_scale_in_the_title():
    heat = replace(HEAT, target_texts=(" word",) * 60, per_target=None)
    title = next(t.get_text() for t in to_figure(heat).findobj(Text) if t.get_text().startswith("target"))
    assert title.endswith("(full colour = 2)")
    assert len(title) <= 96


def test_png_draws_a_word_wider_than_the_page_and_dollar_signs(tmp_path):
    to_png(replace(HEAT, prompt=None, spans=None, texts=("x" * 500, "$5", "$", "\n")), tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


# Pictures

PICTURE = np.full((40, 80, 3), 120, np.uint8)
PATCHES = PatchUnits((2, 3), (10.0, 0.0, 70.0, 40.0), (80, 40))
JOINT = HeatMap(
    caption="tiny-magma · atman",
    texts=(*PATCHES.texts, "A", " cat"),
    scores=np.array([0.0, 4.0, 0.0, 0.0, 0.0, -4.0, 2.0, 1.0], np.float32),
    target_texts=(" yes",),
    prompt="A cat",
    spans=(None,) * 6 + ((0, 1), (1, 5)),
    grids=(Grid(0, PATCHES),),
    picture=PICTURE,
)


def styles_of(heat: HeatMap) -> list[str]:
    """Background of each block that stands for a patch."""
    text = to_terminal(heat)
    blocks = [span for span in text.spans if text.plain[span.start : span.end] == "  "]
    return [str(span.style).removeprefix("on ") for span in blocks]


def test_the_terminal_shows_a_grid_of_patches_and_the_prompt_on_one_scale():
    assert styles_of(JOINT) == [colour(score, 4) for score in JOINT.scores[:6]]
    text = to_terminal(JOINT)
    styles = {str(s.style) for s in text.spans if text.plain[s.start : s.end] == "A"}
    assert styles == {"bold", f"#000000 on {colour(2, 4)}"}  # in the list, and in the map
    assert text.plain.index("(0, 1)") < text.plain.index("A  characters 0 to 1")


def test_the_terminal_shows_a_map_of_many_pixels_in_few_blocks():
    units = PatchUnits((96, 96), (0.0, 0.0, 96.0, 96.0), (96, 96))
    heat = replace(JOINT, texts=units.texts, scores=np.ones(96 * 96), spans=(None,) * 96 * 96, grids=(Grid(0, units),))
    assert len(styles_of(heat)) == 32 * 32


def test_where_only_the_picture_is_explained_the_prompt_is_shown_unscored():
    heat = replace(JOINT, texts=PATCHES.texts, scores=JOINT.scores[:6], spans=(None,) * 6)
    assert [(piece.text, piece.unit) for piece in heat.pieces] == [("A cat", None)]


def test_patches_of_token_ids_are_no_text():
    assert [piece.unit for piece in replace(JOINT, prompt=None, spans=None).pieces] == [6, 7]


def test_the_map_lies_where_the_model_sees_the_picture():
    _, shown = JOINT.pictures(JOINT.scores, JOINT.full)
    red, blue = (shown[..., channel].astype(int) for channel in (0, 2))
    supports = np.zeros((40, 80), bool)
    supports[:20, 30:50] = True  # patch (0, 1)
    opposes = np.zeros((40, 80), bool)
    opposes[20:, 50:70] = True  # patch (1, 2)
    np.testing.assert_array_equal(red > blue, supports)
    np.testing.assert_array_equal(red < blue, opposes)


def test_relevance_of_overlapping_grids_adds_up():
    """Tiles of a picture beside the whole of it."""
    whole, tile = PatchUnits((1, 1), (0, 0, 80, 40), (80, 40)), PatchUnits((1, 1), (0, 0, 40, 40), (80, 40))
    heat = replace(JOINT, texts=("w", "t"), scores=np.array([1.0, -1.0]), grids=(Grid(0, whole), Grid(1, tile)))
    _, shown = heat.pictures(heat.scores, heat.full)
    assert np.ptp(shown[:, :40], axis=-1).max() == 0
    assert (shown[:, 40:, 0] > shown[:, 40:, 2]).all()


def test_a_large_picture_is_made_smaller_for_display():
    heat = replace(JOINT, picture=np.zeros((1000, 2000, 3), np.uint8))
    assert {pixels.shape for pixels in heat.pictures(heat.scores, heat.full)} == {(240, 480, 3)}


def test_dict_says_where_patches_are():
    data = json.loads(json.dumps(as_dict(JOINT)))
    assert data["grids"] == [{"first": 0, "grid": [2, 3], "area": [10, 0, 70, 40], "size": [80, 40]}]
    assert [unit["span"] for unit in data["units"]] == [None] * 6 + [[0, 1], [1, 5]]


def test_html_holds_the_picture_and_where_its_patches_are():
    image = content_of(to_html([("atman", JOINT)]))["view"]["image"]
    assert image["source"].startswith("data:image/jpeg;base64,")
    assert image["grids"] == [{"first": 0, "grid": [2, 3], "area": [10, 0, 70, 40], "size": [80, 40]}]
    assert content_of(to_html([("atman", replace(JOINT, picture=None))]))["view"]["image"]["source"] is None


def test_png_has_room_for_the_picture(tmp_path):
    def height(heat: HeatMap) -> int:
        to_png(heat, tmp_path / "map.png")
        return struct.unpack(">I", (tmp_path / "map.png").read_bytes()[20:24])[0]

    assert height(JOINT) > height(replace(JOINT, picture=None)) + 100


def test_png_outlines_the_patches_that_are_evidence():
    evidence = np.array([0.0, 0.0, 0.2, 0.0, 0.0, 0.7, 0.0, 0.0])
    within = JOINT.pictures(JOINT.scores, JOINT.full)[1].shape[:2]
    expected = np.zeros(within)
    expected[20:, 50:70] = 1  # patch (1, 2)
    np.testing.assert_array_equal(replace(JOINT, evidence=evidence).evidence_in_picture(within), expected)
    assert JOINT.evidence_in_picture(within) is None
    assert len(to_figure(replace(JOINT, evidence=evidence)).findobj(ContourSet)) == 2  # black on white
    assert not to_figure(replace(JOINT, evidence=0 * evidence)).findobj(ContourSet)


@pytest.mark.parametrize(
    ("texts", "phrase", "tokens"),
    [
        ((" a", " lonely", " cab", "in", " with"), "lonely cabin", (1, 4)),
        (("a", "lonely", "cab", "in", "with"), "lonely cabin", (1, 4)),  # a vocabulary whose tokens read without blanks
        ((" a", " ", " lonely", " cabin"), "lonely", (2, 3)),
        ((" lonely", " cabin"), "one", (0, 1)),
        ((" a", " cat", " a", " cat"), "cat", (1, 2)),
        ((" a",), "a", (0, 1)),
    ],
)
def test_a_phrase_is_the_tokens_that_it_overlaps_where_it_first_occurs(texts, phrase, tokens):
    assert find_phrase(texts, phrase).tokens == tokens


def test_a_phrase_that_the_target_lacks_is_refused():
    with pytest.raises(ConfigError, match="'dog' is no part of the target 'a cat'"):
        find_phrase((" a", " cat"), "dog")
