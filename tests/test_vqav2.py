import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from atman_bench.core.errors import ConfigError, DataError
from atman_bench.core.records import Picture
from atman_bench.datasets import DATASETS
from atman_bench.datasets._answer_sets import AnsweredDataset
from atman_bench.datasets.vqav2 import VqaConfig, load

COLOURS = ["red"] * 3 + ["dark red"] * 6 + ["blue"]


def question(number: int, image: int = 42) -> dict:
    return {"image_id": image, "question": f"What colour is {number}?", "question_id": number}


def annotation(number: int, answers: list[str], image: int = 42) -> dict:
    return {
        "question_type": "what color",
        "multiple_choice_answer": "not read",
        "answers": [{"answer": a, "answer_confidence": "yes", "answer_id": i} for i, a in enumerate(answers, 1)],
        "image_id": image,
        "answer_type": "other",
        "question_id": number,
    }


def write(folder: Path, questions: list[dict], annotations: list[dict]) -> None:
    (folder / "images" / "val2014").mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(folder / "images" / "val2014" / "COCO_val2014_000000000042.jpg")
    (folder / "v2_OpenEnded_mscoco_val2014_questions.json").write_text(json.dumps({"info": {}, "questions": questions}))
    (folder / "v2_mscoco_val2014_annotations.json").write_text(json.dumps({"info": {}, "annotations": annotations}))


@pytest.fixture
def read(tmp_path) -> Callable[..., AnsweredDataset]:
    """Write one folder in the official layout and load it."""

    def read(questions: list[dict], annotations: list[dict], **options: str) -> AnsweredDataset:
        write(tmp_path, questions, annotations)
        return load(VqaConfig(str(tmp_path), **options))

    return read


def test_a_question_its_picture_and_the_most_frequent_answer(read, tmp_path):
    (sample,) = read([question(7)], [annotation(7, COLOURS)]).samples
    assert (sample.uid, sample.prompt, sample.target) == ("7", "Q: What colour is 7? A:", " dark red")
    assert sample.picture == Picture(tmp_path / "images" / "val2014" / "COCO_val2014_000000000042.jpg")
    assert sample.group == "42"


def test_all_ten_answers_count_as_votes(read):
    dataset = read([question(7)], [annotation(7, COLOURS)])
    assert dataset.voted
    assert dataset.answers == {"7": tuple(COLOURS)}


def test_what_cannot_be_asked_is_skipped_with_its_reason(read):
    asked = [question(1), question(1), question(2), question(3, image=43), question(4), question(5)]
    given = [annotation(1, COLOURS), annotation(3, COLOURS, 43), annotation(4, ["red"] * 3), annotation(5, [""] * 10)]
    dataset = read(asked, given)
    assert [sample.uid for sample in dataset.samples] == ["1"]
    assert [(skipped.uid, skipped.reason) for skipped in dataset.skipped] == [
        ("1", "duplicate question id"),
        ("2", "fewer than 4 people answered"),
        ("3", "picture file is missing"),
        ("4", "fewer than 4 people answered"),
        ("5", "empty answer"),
    ]


def test_ok_vqa_has_the_same_format(tmp_path):
    write(tmp_path, [question(7)], [annotation(7, COLOURS)])
    spec = DATASETS.get("okvqa")
    assert spec.load(spec.config(str(tmp_path))) == load(VqaConfig(str(tmp_path)))


def test_the_hash_follows_the_answers(read, tmp_path):
    before = read([question(7)], [annotation(7, COLOURS)]).content_hash
    file = tmp_path / "v2_mscoco_val2014_annotations.json"
    file.write_text(file.read_text().replace("blue", "pink"))
    assert load(VqaConfig(str(tmp_path))).content_hash != before


def test_of_several_splits_one_must_be_named(read, tmp_path):
    read([question(7)], [annotation(7, COLOURS)])
    (tmp_path / "v2_OpenEnded_mscoco_train2014_questions.json").write_text("{}")
    with pytest.raises(DataError, match=r"holds 2 files .*train2014.*option questions"):
        load(VqaConfig(str(tmp_path)))
    assert len(load(VqaConfig(str(tmp_path), questions="*val2014_questions.json")).samples) == 1


def test_a_file_of_another_structure_is_one_line(read):
    with pytest.raises(DataError, match=r"annotations\[0\] lacks 'answers'"):
        read([question(7)], [{"question_id": 7}])


def test_the_folder_and_the_place_of_the_question_are_needed(tmp_path):
    with pytest.raises(ConfigError, match="needs data"):
        load(VqaConfig())
    with pytest.raises(DataError, match="holds no "):
        load(VqaConfig(str(tmp_path)))
    with pytest.raises(ConfigError, match="exactly once"):
        VqaConfig(template="What?")
