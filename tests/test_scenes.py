import json
import re
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from atman_bench.core.errors import ConfigError, DataError
from atman_bench.core.images import mask_array, open_picture, rgb_array
from atman_bench.core.records import Boxes, Picture, RegionMask, Sample
from atman_bench.datasets import scenes
from atman_bench.datasets._scenes_disk import write_once
from atman_bench.datasets._scenes_world import Kind, Scene, Split, is_novel, make_scene, questions
from atman_bench.datasets.scenes import ScenesConfig, Task

SCENES = {split: [make_scene(0, split, index) for index in range(40)] for split in Split}
EVERY_SCENE = [scene for split in Split for scene in SCENES[split]]


def asked(scene: Scene):
    return questions(scene, np.random.default_rng(0))


EVERY_QUESTION = [(scene, question) for scene in EVERY_SCENE for question in asked(scene)]


def scene_of(sample: Sample) -> Scene:
    """The scene again, from the name of its picture."""
    split, seed, index = re.fullmatch(r"scenes-(\w+)-(\d+)-(\d+)", sample.group).groups()
    return make_scene(int(seed), Split(split), int(index))


def test_the_same_arguments_give_the_same_scene():
    again = make_scene(0, Split.TRAIN, 3)
    assert np.array_equal(again.image, SCENES[Split.TRAIN][3].image)
    assert asked(again) == asked(SCENES[Split.TRAIN][3])


@pytest.mark.parametrize("other", [(1, Split.TRAIN, 3), (0, Split.HELD_OUT, 3), (0, Split.TRAIN, 4)])
def test_seed_split_and_index_each_change_the_scene(other):
    assert not np.array_equal(make_scene(*other).background, SCENES[Split.TRAIN][3].background)


def test_masks_are_exactly_what_the_objects_changed():
    for scene in EVERY_SCENE:
        changed = (scene.image != scene.background).any(axis=2)
        assert np.array_equal(changed, np.any([thing.mask for thing in scene.objects], axis=0))


def test_boxes_are_tight_around_the_masks():
    for thing in (thing for scene in EVERY_SCENE for thing in scene.objects):
        y, x = np.nonzero(thing.mask)
        assert thing.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)


def test_objects_do_not_overlap_and_lie_inside():
    for scene in EVERY_SCENE:
        covered = np.sum([thing.mask for thing in scene.objects], axis=0)
        assert covered.max() == 1
        assert not covered[[0, -1]].any() and not covered[:, [0, -1]].any()


def test_no_shape_and_no_colour_occurs_twice():
    for scene in EVERY_SCENE:
        assert 3 <= len(scene.objects) <= 5
        assert len({thing.shape for thing in scene.objects}) == len(scene.objects)
        assert len({thing.colour for thing in scene.objects}) == len(scene.objects)


@pytest.mark.parametrize("split", Split)
def test_a_split_shows_only_its_own_combinations(split):
    shown = {(thing.shape, thing.colour) for scene in SCENES[split] for thing in scene.objects}
    assert {is_novel(*look) for look in shown} == {split is Split.NOVEL}


def test_training_shows_every_shape_and_colour_of_the_novel_combinations():
    seen = [(thing.shape, thing.colour) for scene in SCENES[Split.TRAIN] for thing in scene.objects]
    for thing in (thing for scene in SCENES[Split.NOVEL] for thing in scene.objects):
        assert any(shape == thing.shape for shape, _ in seen)
        assert any(colour == thing.colour for _, colour in seen)


def test_training_never_asks_about_a_novel_combination():
    for question in (question for scene in SCENES[Split.TRAIN] for question in asked(scene)):
        if match := re.fullmatch(r"Is there an? (\w+) (\w+)\?", question.text):
            assert not is_novel(*reversed(match.groups()))


def true_answer(text: str, scene: Scene) -> str:
    """The answer, read off the masks and looks alone."""
    if match := re.fullmatch(r"What color is the (\w+)\?", text):
        return next(str(thing.colour) for thing in scene.objects if thing.shape == match[1])
    if match := re.fullmatch(r"What is the (\w+) thing\?", text):
        return next(str(thing.shape) for thing in scene.objects if thing.colour == match[1])
    if match := re.fullmatch(r"Is there an? (\w+) (\w+)\?", text):
        return "yes" if match.groups() in {(t.colour, t.shape) for t in scene.objects} else "no"
    first, relation, second = re.fullmatch(r"Is the (\w+) (.+) the (\w+)\?", text).groups()
    # The middle of each mask's extent, as (y, x).
    middle = {
        str(thing.shape): [(where.min() + where.max()) / 2 for where in np.nonzero(thing.mask)]
        for thing in scene.objects
    }
    axis, sign = {"above": (0, 1), "below": (0, -1), "to the left of": (1, 1), "to the right of": (1, -1)}[relation]
    distance = middle[second][axis] - middle[first][axis]
    assert abs(distance) >= 30
    return "yes" if sign * distance > 0 else "no"


def test_answers_are_true():
    for scene, question in EVERY_QUESTION:
        assert question.answer == true_answer(question.text, scene), question.text


def test_annotated_words_name_their_object():
    for scene, question in EVERY_QUESTION:
        for start, end, number in question.words:
            thing = scene.objects[number]
            assert question.text[start:end] in {thing.shape, f"{thing.colour} thing", f"{thing.colour} {thing.shape}"}
        assert all(before[1] <= after[0] for before, after in pairwise(question.words))


def test_an_answer_that_describes_an_object_points_at_it():
    for scene, question in EVERY_QUESTION:
        if question.answer_object is not None:
            thing = scene.objects[question.answer_object]
            assert question.answer in {thing.shape, thing.colour}
        else:
            assert question.answer in {"yes", "no"}


def test_a_question_without_words_asks_for_what_is_not_there():
    for _, question in EVERY_QUESTION:
        assert (not question.words) == (question.kind is Kind.EXIST and question.answer == "no")


def test_existences_are_affirmed_as_often_as_denied():
    answers = [question.answer for _, question in EVERY_QUESTION if question.kind is Kind.EXIST]
    assert answers.count("yes") == answers.count("no")


def test_a_relation_is_affirmed_or_denied_by_chance():
    answers = [
        question.answer
        for seed in range(200)
        for question in questions(EVERY_SCENE[0], np.random.default_rng(seed))
        if question.kind is Kind.RELATION
    ]
    assert abs(answers.count("yes") - 100) <= 30  # four standard deviations


def test_every_scene_has_enough_questions():
    assert all(8 <= len(asked(scene)) <= 20 for scene in EVERY_SCENE)


def test_naming_reads_back_the_exact_mask_of_every_object(tmp_path):
    dataset = scenes.load(ScenesConfig(n=10, data=str(tmp_path)))
    assert len(dataset.samples) == 10 and not dataset.skipped
    for sample in dataset.samples:
        assert isinstance(sample.label, RegionMask)
        thing = next(t for t in scene_of(sample).objects if sample.target == f" {t.shape}")
        (mask,) = sample.label.files
        assert np.array_equal(mask_array(Picture(mask), sample.label.value, (192, 192)), thing.mask)


def test_naming_asks_for_several_objects_of_one_picture(tmp_path):
    samples = scenes.load(ScenesConfig(n=10, data=str(tmp_path))).samples
    assert len({sample.picture for sample in samples}) < len({(s.picture, s.target) for s in samples}) == 10
    article = {sample.target: sample.prompt.removeprefix("This is a picture of ") for sample in samples}
    assert all(word == ("an" if target == " arrow" else "a") for target, word in article.items())


def test_pictures_on_disk_show_the_scenes(tmp_path):
    sample = scenes.load(ScenesConfig(n=1, data=str(tmp_path))).samples[0]
    stored = rgb_array(open_picture(sample.picture)).astype(int)
    # What JPEG's rounding does to a picture of much texture, and far below the distance between any two colours.
    assert np.abs(stored - scene_of(sample).image).mean() < 4


def test_a_crop_is_the_objects_box(tmp_path):
    for sample in scenes.load(ScenesConfig(n=5, crop=True, data=str(tmp_path))).samples:
        assert sample.picture.crop in {thing.box for thing in scene_of(sample).objects}


def test_questions_read_back_with_the_boxes_of_their_words(tmp_path):
    dataset = scenes.load(ScenesConfig(n=30, task=Task.QUESTIONS, data=str(tmp_path)))
    assert len(dataset.samples) == 30 and not dataset.skipped
    for sample in dataset.samples:
        scene, text = scene_of(sample), sample.prompt + sample.target
        assert sample.target == " " + true_answer(sample.prompt.removeprefix("Q: ").removesuffix(" A:"), scene)
        for word in sample.words:
            assert isinstance(word.label, Boxes)
            thing = next(thing for thing in scene.objects if (thing.box,) == word.label.boxes)
            named = {thing.shape, thing.colour, f"{thing.colour} thing", f"{thing.colour} {thing.shape}"}
            assert text[slice(*word.span)] in named


def test_questions_are_about_many_pictures(tmp_path):
    samples = scenes.load(ScenesConfig(n=30, task=Task.QUESTIONS, data=str(tmp_path))).samples
    assert len({sample.group for sample in samples}) >= 30 / 4


def test_scene_graphs_say_where_objects_are(tmp_path):
    scenes.load(ScenesConfig(n=5, task=Task.QUESTIONS, data=str(tmp_path)))
    (path,) = tmp_path.glob("*/scene_graphs/*.json")
    for objects in (graph["objects"] for graph in json.loads(path.read_text()).values()):
        middle = {name: thing["x"] + thing["w"] / 2 for name, thing in objects.items()}
        stated = {
            (name, relation["object"])
            for name, thing in objects.items()
            for relation in thing["relations"]
            if relation["name"] == "to the left of"
        }
        assert stated == {(a, b) for a, b in product(objects, objects) if middle[b] - middle[a] >= 30}


@pytest.mark.parametrize("task", Task)
def test_generated_scenes_are_reused(task, tmp_path):
    config = ScenesConfig(n=3, task=task, data=str(tmp_path))
    first = scenes.load(config)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    assert scenes.load(config) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == written


def test_options_that_change_the_scenes_get_their_own_folder(tmp_path):
    hashes = {
        scenes.load(ScenesConfig(n=2, data=str(tmp_path), seed=seed, split=split, task=task)).content_hash
        for seed, split, task in product((0, 1), Split, Task)
    }
    assert len(hashes) == 2 * len(Split) * len(Task)


def test_an_interrupted_write_leaves_nothing_that_counts_as_complete(tmp_path):
    def interrupted(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_once(tmp_path / "data", interrupted)
    assert not (tmp_path / "data").exists()


def test_what_a_faster_process_wrote_is_kept(tmp_path):
    def overtaken(folder: Path) -> None:
        (folder / "slow.txt").touch()
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "fast.txt").touch()

    write_once(tmp_path / "data", overtaken)
    assert [path.name for path in tmp_path.rglob("*.txt")] == ["fast.txt"]


def test_scenes_are_written_despite_the_remains_of_a_killed_process(tmp_path):
    remains = tmp_path / ".scenes-killed" / "naming-held_out-seed0-n3-v4" / "images"
    remains.mkdir(parents=True)
    (remains / "scenes-held_out-0-00000.jpg").write_bytes(b"torn")
    assert len(scenes.load(ScenesConfig(n=3, data=str(tmp_path))).samples) == 3


def test_lost_files_are_reported(tmp_path):
    config = ScenesConfig(n=3, data=str(tmp_path))
    scenes.load(config)
    next(tmp_path.glob("*/masks/*.png")).unlink()
    with pytest.raises(DataError, match=r"should hold 3 samples, found 2.*delete it"):
        scenes.load(config)


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write scenes"):
        scenes.load(ScenesConfig(n=1, data=str(tmp_path / "file")))


@pytest.mark.parametrize("options", [{"n": 0}, {"seed": -1}, {"crop": True, "task": Task.QUESTIONS}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError, match="scenes: "):
        ScenesConfig(**options)


@pytest.mark.parametrize(
    ("config", "label"),
    [
        (ScenesConfig(), ""),
        (ScenesConfig(crop=True), "cropped"),
        (ScenesConfig(task=Task.QUESTIONS), "questions"),
    ],
)
def test_tables_tell_the_experiments_apart(config, label):
    assert scenes.SPEC.label(config) == label
