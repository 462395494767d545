import json
import re
from pathlib import Path

import pytest
from PIL import Image

from atman_bench.core.errors import ConfigError, DataError
from atman_bench.datasets.gqa import SPEC, ExplainAt, GqaConfig, load

GQA = Path(__file__).parents[2] / "shared" / "data" / "gqa"
needs_data = pytest.mark.skipif(not GQA.exists(), reason="optional data folder is absent")

TEXT = "Is the tall man, near the traffic light?"
MAN, LIGHT, CAR = (10.0, 20.0, 40.0, 60.0), (60.0, 0.0, 80.0, 30.0), (0.0, 50.0, 100.0, 80.0)


def graph(**more: object) -> dict:
    """A picture of 100 x 80 pixels with a man (1), a traffic light (2) and a car (3)."""
    objects = {
        str(i): {"name": name, "x": x0, "y": y0, "w": x1 - x0, "h": y1 - y0, "relations": [{"object": "99"}]}
        for i, (name, (x0, y0, x1, y1)) in enumerate({"man": MAN, "traffic light": LIGHT, "car": CAR}.items(), 1)
    }
    return {"width": 100, "height": 80, "objects": objects | more}


def question(pointers: dict | None = None, answers: dict | None = None, **more: object) -> dict:
    return {
        "question": TEXT,
        "answer": "yes",
        "imageId": "img",
        "isBalanced": True,
        "annotations": {
            "question": {"3": "1"} if pointers is None else pointers,
            "answer": answers or {},
            "fullAnswer": {"0": "3"},
        },
        "types": {"structural": "verify", "detailed": "existRelS"},
    } | more


@pytest.fixture
def read(tmp_path):
    """Write one folder in the official layout and load it."""

    def read(records: object, graphs: object = None, size: tuple[int, int] | None = (100, 80), **options):
        for name in ("questions", "scene_graphs", "images/1"):
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "questions" / "val_balanced_questions.json").write_text(dump(records))
        (tmp_path / "scene_graphs" / "val_sceneGraphs.json").write_text(
            dump({"img": graph()} if graphs is None else graphs)
        )
        if size:
            Image.new("RGB", size).save(tmp_path / "images" / "1" / "img.jpg")
        return load(GqaConfig(str(tmp_path), **options))

    return read


def dump(content: object) -> str:
    return content if isinstance(content, str) else json.dumps(content)


def named(sample) -> dict[str, tuple]:
    """What each explained word reads in prompt + target, and its boxes."""
    text = sample.prompt + sample.target
    return {text[slice(*word.span)]: word.label.boxes for word in sample.words}


def reasons(dataset) -> list[tuple[str, str]]:
    return [(skipped.uid, skipped.reason) for skipped in dataset.skipped]


def test_question_becomes_a_sample_of_the_papers_prompt(read, tmp_path):
    (sample,) = read({"q": question()}).samples
    assert (sample.uid, sample.prompt, sample.target) == ("q", f"Q: {TEXT} A:", " yes")
    assert (sample.explain, sample.group, sample.facts) == (None, "img", {"type": "verify"})
    assert sample.picture.path == tmp_path / "images" / "1" / "img.jpg"


def test_annotated_words_of_question_and_answer_have_their_own_boxes_in_reading_order(read):
    record = question({"6:8": "2", "2:4": "1"}, {"0:2": "3"}, answer="parked car")
    (sample,) = read({"q": record}, threshold=0.5).samples
    assert named(sample) == {"tall man": (MAN,), "traffic light": (LIGHT,), "parked car": (CAR,)}
    assert [word.span for word in sample.words] == sorted(word.span for word in sample.words)
    assert {word.label.threshold for word in sample.words} == {sample.label.threshold} == {0.5}
    assert set(sample.label.boxes) == {MAN, LIGHT, CAR}


def test_word_spans_move_with_the_template(read):
    (sample,) = read({"q": question({"3": "1"}, {"0": "3"})}, template="Look. {question}\nShort answer:").samples
    assert named(sample) == {"man": (MAN,), "yes": (CAR,)}


def test_at_the_answer_the_target_is_explained_against_all_boxes(read):
    (sample,) = read({"q": question({"6:8": "2", "3": "1"})}, explain_at=ExplainAt.ANSWER).samples
    assert sample.words == ()
    assert set(sample.label.boxes) == {MAN, LIGHT}


def test_at_the_words_own_rows_only_words_of_the_question_are_explained(read):
    record = question({"3": "1"}, {"0": "3"})
    (sample,) = read({"q": record}, explain_at=ExplainAt.OWN_ROWS).samples
    assert named(sample) == {"man": (MAN,)}
    assert [word.own_row for word in sample.words] == [True]


def test_tables_name_the_experiment_that_is_not_the_papers():
    labels = {at: SPEC.label(GqaConfig(explain_at=at)) for at in ExplainAt}
    assert labels == {
        ExplainAt.WORDS: "",
        ExplainAt.OWN_ROWS: "at the words' own rows",
        ExplainAt.ANSWER: "at the answer",
        ExplainAt.NOTHING: "",
    }


def test_boxes_are_clipped_to_the_picture(read):
    edge = {"name": "wall", "x": -5, "y": 70.5, "w": 200, "h": 30}
    (sample,) = read({"q": question({"3": "w"})}, {"img": graph(w=edge)}).samples
    assert sample.label.boxes == ((0, 70.5, 100, 80),)


@pytest.mark.parametrize(
    ("index", "object_id", "reason"),
    [
        ("0", "99", "object of a word is not in the scene graph"),
        ("0", "boxless", "object of a word has no box"),
        ("0", "outside", "box of a word is empty or outside of the picture"),
        ("0", "flat", "box of a word is empty or outside of the picture"),
        ("8", "1", "index of a word is out of range"),
        ("7:9", "1", "index of a word is out of range"),
        ("2:2", "1", "index of a word is out of range"),
        ("-1", "1", "index of a word is neither i nor i:j"),
        ("2:4", "2", "annotated words overlap"),
    ],
)
def test_word_that_points_at_nothing_is_counted_and_the_others_stay(read, index, object_id, reason):
    broken = {
        "boxless": {"name": "sky"},
        "outside": {"x": 100, "y": 0, "w": 9, "h": 9},
        "flat": {"x": 1, "y": 1, "w": 0, "h": 9},
    }
    dataset = read({"q": question({"3": "1", index: object_id})}, {"img": graph(**broken)})
    assert named(dataset.samples[0]) == {"man": (MAN,)}
    assert reasons(dataset) == [(f"q/question[{index}]", reason)]


def test_question_without_a_word_left_is_counted_itself(read):
    dataset = read({"q": question({"3": "99"})})
    assert not dataset.samples
    assert reasons(dataset)[-1] == ("q", "no annotated word with a box")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (question({}), "no annotated word"),
        (question(answer=" "), "no answer"),
        ({key: question()[key] for key in ("question", "imageId", "isBalanced")}, "no answer"),
        (question(imageId="other"), "scene graph is missing"),
        (question(imageId="unseen"), "picture file is missing"),
        (question(imageId="broken"), "picture file is truncated or no picture"),
    ],
)
def test_unusable_question_is_counted_with_a_reason(read, tmp_path, record, reason):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.jpg").write_bytes(b"no picture")
    dataset = read({"q": record, "good": question()}, dict.fromkeys(("img", "unseen", "broken"), graph()))
    assert [sample.uid for sample in dataset.samples] == ["good"]
    assert reasons(dataset) == [("q", reason)]


def test_resized_picture_is_refused_since_boxes_are_in_pixels(read):
    dataset = read({"q": question()}, size=(50, 40))
    assert reasons(dataset) == [("q", "picture is not of its scene graph's size: boxes would be off")]


def test_only_balanced_questions_are_used_unless_asked(read):
    records = {"a": question(), "b": question(isBalanced=False)}
    assert [sample.uid for sample in read(records).samples] == ["a"]
    assert [sample.uid for sample in read(records, balanced_only=False).samples] == ["a", "b"]


def test_chunks_are_read_together_and_one_file_can_be_chosen(read, tmp_path):
    chunks = tmp_path / "questions" / "train_all_questions"
    chunks.mkdir(parents=True)
    for i, uid in enumerate(["b", "a"]):
        (chunks / f"train_all_questions_{i}.json").write_text(json.dumps({uid: question()}))
    dataset = read({"a": question()})
    assert [sample.uid for sample in dataset.samples] == ["b", "a"]
    assert reasons(dataset) == [("a", "duplicate question id")]
    one = read({"a": question()}, questions="questions/val_balanced_questions.json")
    assert [sample.uid for sample in one.samples] == ["a"]


def test_content_hash_follows_annotations_and_pictures(read):
    first = read({"q": question()}).content_hash
    assert read({"q": question()}).content_hash == first
    moved = graph()
    moved["objects"]["1"]["x"] += 1
    assert len({first, read({"q": question()}, {"img": moved}).content_hash, read({"p": question()}).content_hash}) == 3


@pytest.mark.parametrize(
    ("questions", "graphs", "said"),
    [
        ("{", None, "no valid JSON"),
        ([], None, "should be dict, found list"),
        ({}, None, "holds no question"),
        ({"q": question(isBalanced=False)}, None, "set balanced_only to false"),
        ({"q": "Is it?"}, None, "'q' should be dict, found str"),
        ({"q": {"isBalanced": True, "imageId": "img"}}, None, "'q' lacks 'question'"),
        ({"q": question({"3": 1})}, None, r"question\[3\] should be str, found int"),
        ({"q": question()}, "[1", "no valid JSON"),
        ({"q": question()}, {"img": []}, "scene graph 'img' should be dict, found list"),
        ({"q": question()}, {"img": {"width": 100, "height": 80}}, "scene graph 'img' lacks 'objects'"),
    ],
)
def test_wrong_content_is_one_clear_line(read, questions, graphs, said):
    with pytest.raises(DataError, match=said) as caught:
        read(questions, graphs)
    assert "\n" not in str(caught.value)


def test_missing_parts_are_one_line_that_names_the_layout(tmp_path):
    with pytest.raises(ConfigError, match="needs data: give a folder with questions/"):
        load(GqaConfig())
    for part in ("questions", "scene_graphs", "images"):
        with pytest.raises(DataError, match=f"{part}.*questions/.*scene_graphs/.*images/") as caught:
            load(GqaConfig(str(tmp_path)))
        assert "\n" not in str(caught.value)
        (tmp_path / part).mkdir()
        (tmp_path / part / f"{part.replace('scene_graphs', 'sceneGraphs')}.json").write_text("{}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": 0.0}, "expected above 0"),
        ({"threshold": 1.1}, "at most 1"),
        ({"template": "A:"}, "{question} exactly once, found 0"),
    ],
)
def test_impossible_options_are_config_errors(options, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        GqaConfig(**options)


@needs_data
def test_real_questions_without_scene_graphs_are_counted():
    dataset = load(GqaConfig(str(GQA), questions="questions/val_balanced_questions.sample.gazevlm.json"))
    assert [skipped.reason for skipped in dataset.skipped] == ["scene graph is missing"] * 5


@needs_data
def test_annotations_of_real_questions_name_the_words_of_their_objects(read):
    """The indices of official questions, read against scene graphs made up around their object ids."""
    (path,) = GQA.glob("questions/val_balanced*.json")
    records = json.loads(path.read_text())
    objects = {o: {"x": 0, "y": 0, "w": 9, "h": 9} for r in records.values() for o in ids(r["annotations"])}
    dataset = read({uid: r | {"imageId": "img"} for uid, r in records.items()}, {"img": graph(**objects)})
    assert {sample.uid: list(named(sample)) for sample in dataset.samples} == {
        "00126851": ["carts", "pond"],
        "00137872": ["device", "traffic signal", "camera"],
        "00137901": ["trash cans", "car", "traffic signal"],
        "00148535": ["shirt", "man"],
        "00155957": ["vase", "pitcher"],
    }


def ids(annotations: dict) -> list[str]:
    return [*annotations["question"].values(), *annotations["answer"].values()]


@needs_data
def test_real_scene_graph_gives_boxes_and_its_dangling_object_is_counted(read, tmp_path):
    (path,) = GQA.glob("scene_graphs/*.json")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (500, 333)).save(tmp_path / "images" / "2397582.jpg")
    dataset = read({"q": question({"3": "1188535", "7": "1188537"}, imageId="2397582")}, path.read_text())
    assert named(dataset.samples[0]) == {"man": ((176, 231, 208, 253),)}
    assert reasons(dataset) == [("q/question[7]", "object of a word is not in the scene graph")]
