import csv
import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from atman_bench.cli import app
from atman_bench.core.errors import ConfigError, DataError
from atman_bench.core.images import mask_array
from atman_bench.core.records import Picture
from atman_bench.datasets import DATASETS
from atman_bench.datasets._check import check
from atman_bench.datasets._class_names import PAPER_CLASSES
from atman_bench.datasets._openimages_folder import read_annotations, read_class_names, scan
from atman_bench.datasets._openimages_subset import select
from atman_bench.datasets.openimages import Article, OpenImagesConfig, load

REAL = Path(__file__).parents[2] / "shared" / "data" / "openimages"
COLUMNS = ("MaskPath", "ImageID", "LabelName", "BoxID", "BoxXMin", "BoxXMax", "BoxYMin", "BoxYMax", "PredictedIoU")
MIDS = {"Cat": "/m/01yrx", "Owl": "/m/09d5_", "Drill (Tool)": "/m/01d380", "Tree": "/m/07j7r"}
SQUARE = (0.25, 0.25, 0.75, 0.75)


class Folder:
    """A small copy of Open Images: 400 x 400 images, masks that fill their boxes."""

    def __init__(self, root: Path):
        self.root = root
        self.rows: list[dict[str, object]] = []
        (root / "masks").mkdir(parents=True)
        (root / "images").mkdir()
        self.describe()

    def describe(self, header: str = "") -> None:
        lines = [f"{mid},{name}\n" for name, mid in MIDS.items()]
        (self.root / "class-descriptions-boxable.csv").write_text(header + "".join(lines))

    def add(self, image_id: str, name: str = "Cat", box: tuple = SQUARE, size: tuple = (400, 400), **more: object):
        """Add an instance, with its files; a second one of the same image keeps the image."""
        mid, box_id = MIDS.get(name, name), f"{len(self.rows):08x}"
        mask = f"{image_id}_{mid.replace('/', '')}_{box_id}.png"
        values = (mask, image_id, mid, box_id, box[0], box[2], box[1], box[3], 0.9)
        self.rows.append(dict(zip(COLUMNS, values, strict=True)) | more)
        if not (path := self.image(image_id)).exists():
            Image.new("RGB", size).save(path)
        picture = Image.new("1", size)
        picture.paste(1, tuple(round(edge * side) for edge, side in zip(box, size * 2, strict=True)))
        picture.save(self.root / "masks" / mask)
        self.write()

    def image(self, image_id: str) -> Path:
        return self.root / "images" / f"{image_id}.jpg"

    @property
    def masks(self) -> list[Path]:
        return sorted((self.root / "masks").iterdir())

    def write(self) -> None:
        with (self.root / "train-annotations-object-segmentation.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)

    def load(self, **options: object):
        return load(OpenImagesConfig(str(self.root), **options))

    def reasons(self, **options: object) -> list[str]:
        """Why each entry is skipped, where no sample is left."""
        dataset = self.load(**options)
        assert not dataset.samples
        return [skip.reason for skip in dataset.skipped]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "data")


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["atman-bench", "data", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            app.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


def uids(dataset) -> list[str]:
    return [sample.uid for sample in dataset.samples]


def test_an_instance_becomes_a_sample_of_the_papers_prompt(folder):
    folder.add("a1")
    (sample,) = folder.load().samples
    assert (sample.uid, sample.prompt, sample.target) == ("a1", "This is a picture of a", " cat")
    assert (sample.explain, sample.group) == (None, "a1")
    assert sample.facts == {"class": "Cat", "instances": 1}
    assert sample.label.files == tuple(folder.masks)


@pytest.mark.parametrize(
    ("name", "article", "prompt"),
    [
        ("Owl", Article.A_AN, "This is a picture of an"),
        ("Owl", Article.A, "This is a picture of a"),
        ("Owl", Article.NONE, "This is a picture of"),
        ("Cat", Article.A_AN, "This is a picture of a"),
    ],
)
def test_articles(folder, name, article, prompt):
    folder.add("a1", name)
    assert folder.load(article=article).samples[0].prompt == prompt


def test_a_target_keeps_its_parentheses_in_lower_case(folder):
    folder.add("a1", "Drill (Tool)")
    assert folder.load().samples[0].target == " drill (tool)"


def test_the_crop_is_the_union_of_the_boxes_of_the_class(folder):
    folder.add("a1", "Cat", (0.1, 0.2, 0.4, 0.5))
    folder.add("a1", "Owl", (0.0, 0.0, 1.0, 1.0))
    folder.add("a1", "Cat", (0.5, 0.6, 0.7, 0.8))
    (sample,) = folder.load().samples
    assert sample.picture.crop == (40, 80, 280, 320)
    assert len(sample.label.files) == sample.facts["instances"] == 2


def test_boxes_of_six_digits_give_the_pixels_that_they_were_made_from(folder):
    folder.add("a1", box=(round(100 / 333, 6), round(113 / 333, 6), round(332 / 333, 6), 1.0), size=(333, 333))
    assert folder.load().samples[0].picture.crop == (100, 113, 332, 333)


def test_without_crop_the_whole_image_is_shown_and_tables_say_so(folder):
    folder.add("a1")
    config = OpenImagesConfig(str(folder.root), crop=False)
    assert load(config).samples[0].picture == Picture(folder.image("a1"))
    label = DATASETS.get("openimages").label
    assert (label(config), label(OpenImagesConfig())) == ("uncropped", "cropped")


def test_an_image_counts_for_the_class_of_its_first_instance(folder):
    folder.add("a1", "Owl")
    folder.add("b1", "Cat")
    folder.add("a1", "Cat")
    assert {s.uid: s.facts["class"] for s in folder.load().samples} == {"a1": "Owl", "b1": "Cat"}
    assert uids(folder.load(classes=("Cat",))) == ["b1"]


def test_multi_object_images_give_a_sample_for_each_class(folder):
    folder.add("a1", "Owl")
    folder.add("a1", "Drill (Tool)", (0.0, 0.0, 0.5, 0.5))
    owl, drill = sorted(folder.load(first_instance_only=False).samples, key=lambda s: s.target, reverse=True)
    assert (owl.uid, drill.uid) == ("a1/owl", "a1/drill-tool")
    assert owl.picture.crop == (100, 100, 300, 300)
    assert drill.picture.crop == (0, 0, 200, 200)
    assert owl.group == drill.group == "a1"


def test_only_the_papers_classes_are_taken_unless_others_are_named(folder):
    folder.add("a1", "Tree")
    folder.add("b1", "Cat")
    assert uids(folder.load()) == ["b1"]
    assert uids(folder.load(classes=("tREE",))) == ["a1"]


def test_the_paper_has_350_classes():
    assert len(PAPER_CLASSES) == 350
    assert {"Adhesive tape", "Bat (Animal)", "Zucchini"} <= PAPER_CLASSES


def test_a_named_class_without_images_is_counted(folder):
    folder.add("a1", "Cat")
    skipped = folder.load(classes=("Cat", "Owl")).skipped
    assert [(skip.uid, skip.reason) for skip in skipped] == [("Owl", "class has no image")]


def test_a_misspelt_class_names_near_misses(folder):
    folder.add("a1")
    with pytest.raises(ConfigError, match="unknown class 'Catt': did you mean 'Cat'"):
        folder.load(classes=("Catt",))


@pytest.mark.parametrize("header", ["", "LabelName,DisplayName\n", "\ufeffLabelName,DisplayName\n"])
def test_class_descriptions_may_have_a_header(folder, header):
    folder.add("a1")
    folder.describe(header)
    assert read_class_names(scan(folder.root)) == {mid: name for name, mid in MIDS.items()}


def test_older_descriptions_give_the_papers_names(folder):
    folder.add("a1", "Drill (Tool)")
    (folder.root / "class-descriptions-boxable.csv").write_text("/m/01d380,Drill\n")
    assert folder.load().samples[0].target == " drill (tool)"


def test_extra_columns_are_ignored(folder):
    folder.add("a1", Reviewer="x")
    assert uids(folder.load()) == ["a1"]


def test_images_and_masks_are_found_in_subfolders(folder):
    folder.add("a1")
    for name in ("images", "masks"):
        shutil.move(folder.root / name, folder.root / "train" / f"{name}_0")
    assert uids(folder.load()) == ["a1"]


@pytest.mark.parametrize(
    ("box", "size", "options", "reason"),
    [
        ((0.2, 0.2, 0.8, 0.7), (400, 400), {}, "crop outside aspect 0.8 to 1.2"),
        ((0.2, 0.2, 0.7, 0.8), (400, 400), {"min_aspect": 0.9}, "crop outside aspect 0.9 to 1.2"),
        (SQUARE, (398, 398), {}, "crop smaller than 200 pixels"),
        (SQUARE, (400, 300), {"crop": False}, "image outside aspect 0.8 to 1.2"),
        (SQUARE, (199, 199), {"crop": False}, "image smaller than 200 pixels"),
        ((-0.02, 0.2, 0.7, 0.7), (400, 400), {}, "box is outside the image"),
        ((0.2, 0.2, 0.7, 1.3), (400, 400), {}, "box is outside the image"),
        ((0.5, 0.2, 0.5, 0.7), (400, 400), {}, "box is empty"),
    ],
)
def test_images_outside_the_filters_are_skipped(folder, box, size, options, reason):
    folder.add("a1", box=box, size=size)
    assert folder.reasons(**options) == [reason]


def test_a_box_that_sticks_out_by_rounding_is_clipped(folder):
    folder.add("a1", box=(-0.005, 0.0, 1.0, 1.009))
    assert folder.load().samples[0].picture.crop == (0, 0, 400, 400)


def test_missing_and_unreadable_files_are_counted(folder):
    for image_id in ("a1", "b1", "c1", "d1"):
        folder.add(image_id)
    folder.image("a1").unlink()
    folder.masks[1].unlink()
    folder.image("c1").write_text("no picture")
    dataset = folder.load()
    assert uids(dataset) == ["d1"]
    assert {skip.uid: skip.reason for skip in dataset.skipped} == {
        "a1": "image is missing",
        "b1": "mask is missing",
        "c1": "image: picture file is truncated or no picture",
    }


def test_an_image_that_lacks_one_of_its_masks_is_skipped(folder):
    folder.add("a1")
    folder.add("a1")
    folder.masks[0].unlink()
    assert folder.reasons() == ["mask is missing"]


def test_a_class_without_description_is_counted(folder):
    folder.add("a1", "/m/0unknown")
    assert folder.reasons() == ["class has no description"]


@pytest.mark.parametrize(
    "broken", [{"BoxXMin": "left"}, {"BoxXMax": "nan"}, {"BoxYMin": ""}, {"LabelName": ""}, {"ImageID": "../a1"}]
)
def test_a_malformed_row_is_counted_and_the_rest_is_used(folder, broken):
    folder.add("a1", **broken)
    folder.add("b1")
    dataset = folder.load()
    assert uids(dataset) == ["b1"]
    assert [skip.reason for skip in dataset.skipped] == ["malformed row"]


def test_an_image_with_a_torn_row_is_skipped_since_its_evidence_is_incomplete(folder):
    folder.add("a1")
    table = folder.root / "train-annotations-object-segmentation.csv"
    table.write_text(table.read_text() + f"a1_x.png,a1,{MIDS['Cat']},00")
    assert folder.reasons() == ["malformed row"]


def test_a_duplicate_row_is_counted_once_and_its_image_used(folder):
    folder.add("a1")
    folder.rows *= 2
    folder.write()
    dataset = folder.load()
    assert dataset.samples[0].facts["instances"] == 1
    assert [skip.reason for skip in dataset.skipped] == ["duplicate row"]


@pytest.fixture
def many(folder):
    for i in range(6):
        folder.add(f"cat{i}")
        folder.add(f"owl{i}", "Owl")
    return folder


def test_the_choice_of_a_class_depends_on_the_seed_and_nothing_else(many):
    cats = uids(many.load(classes=("Cat",)))
    assert sorted(cats) == [f"cat{i}" for i in range(6)]
    assert uids(many.load(classes=("Cat",), per_class=3)) == cats[:3]
    assert uids(many.load(classes=("Owl", "Cat"), per_class=2))[:2] == cats[:2]
    assert uids(many.load(classes=("Cat",), seed=1)) != cats
    many.rows.reverse()
    many.write()
    assert uids(many.load(classes=("Cat",))) == cats


def test_an_unusable_image_makes_room_for_the_next(many):
    first, second, third, *_ = uids(many.load(classes=("Cat",)))
    many.image(first).unlink()
    assert uids(many.load(classes=("Cat",), per_class=2)) == [second, third]


def test_the_hash_names_the_annotations_and_the_chosen_files(many, tmp_path):
    content_hash = many.load().content_hash
    shutil.copytree(many.root, tmp_path / "elsewhere")
    assert load(OpenImagesConfig(str(tmp_path / "elsewhere"))).content_hash == content_hash
    Image.effect_noise((400, 400), 90).save(many.image("cat0"))
    assert many.load().content_hash != content_hash


@pytest.mark.parametrize("options", [{"per_class": 0}, {"min_side": 0}, {"min_aspect": 2.0}, {"threshold": 1.5}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))}.*received"):
        OpenImagesConfig(**options)


def test_a_folder_of_another_layout_is_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="needs data"):
        load(OpenImagesConfig())
    with pytest.raises(DataError, match=r"no folder .*expected a folder of Open Images"):
        load(OpenImagesConfig(str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match=r"holds no .*-annotations-object-segmentation\.csv; expected"):
        folder.load()


def test_a_table_without_its_columns_is_refused(folder):
    folder.add("a1")
    (folder.root / "x-annotations-object-segmentation.csv").write_text("ImageID,LabelName\na1,b\n")
    with pytest.raises(DataError, match="lacks the columns MaskPath, BoxID"):
        folder.load()


def test_a_selection_gives_the_same_samples(many, tmp_path):
    many.add("cat0", "Owl")
    many.rows = [{**row, "Reviewer": "x"} for row in many.rows]
    many.write()
    config = OpenImagesConfig(str(many.root), per_class=2)
    out = tmp_path / "out"
    select(config, out)
    copy = load(OpenImagesConfig(str(out), per_class=2))
    assert {s.uid: s.picture.crop for s in copy.samples} == {s.uid: s.picture.crop for s in load(config).samples}
    assert not copy.skipped
    assert len(list(out.glob("images/*.jpg"))) == 4
    with (out / "train-annotations-object-segmentation.csv").open() as stream:
        assert set(next(csv.reader(stream))) == {*COLUMNS, "Reviewer"}
    written = json.loads((out / "selection.json").read_text())
    assert written["classes"] == {"Cat": 2, "Owl": 2}
    assert written["options"]["per_class"] == 2


def test_select_links_where_asked(many, tmp_path, command):
    code, out, err = command("select", "--data", many.root, "--out", tmp_path / "out", "--link")
    assert (code, err) == (0, "")
    assert "12 samples of 2 classes" in out
    assert (tmp_path / "out" / "images" / "cat0.jpg").samefile(many.image("cat0"))


def test_select_takes_the_options_of_the_dataset(many, tmp_path, command):
    many.add("cat9", box=(0.0, 0.0, 0.1, 0.1))
    sets = ("--set", "datasets.openimages.classes=[cat]", "--set", "datasets.openimages.seed=7")
    _, out, _ = command("select", "--data", many.root, "--out", tmp_path / "out", *sets)
    assert "crop smaller than 200 pixels" in out
    assert len(list(tmp_path.glob("out/images/*"))) == 6


@pytest.mark.parametrize("place", ["data/out", "used"])
def test_select_refuses_folders_that_would_mix(many, tmp_path, command, place):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").touch()
    code, _, err = command("select", "--data", many.root, "--out", tmp_path / place)
    assert code == 2
    assert "folder" in err
    assert err.count("\n") == 1


def test_check_decodes_every_picture(many):
    image, mask = many.image("cat0"), many.masks[1]
    image.write_bytes(image.read_bytes()[:-200])
    Image.effect_noise((400, 400), 90).save(mask)
    mask.write_bytes(mask.read_bytes()[:20000])
    Image.new("1", (400, 400)).save(many.masks[2])
    checked = check(load(OpenImagesConfig(str(many.root))))
    assert checked.usable == 9
    assert Counter(checked.problems) == {
        "image: picture file is truncated or no picture": 1,
        "mask: picture file is truncated or no picture": 1,
        "masks are empty": 1,
    }


def test_check_prints_problems_and_fails_where_nothing_is_usable(folder, command):
    folder.add("a1")
    assert "1 samples are usable" in command("check", "--data", folder.root)[1]
    folder.image("a1").unlink()
    code, out, err = command("check", "--data", folder.root)
    assert code == 2
    assert "image is missing" in out
    assert "no sample of" in err


def test_masks_of_another_size_are_stretched_to_their_image(folder):
    folder.add("a1")
    Image.open(folder.masks[0]).resize((100, 100)).save(folder.masks[0])
    (sample,) = folder.load().samples
    assert mask_array(Picture(sample.label.files[0], sample.picture.crop), None, (400, 400)).all()


@pytest.mark.skipif(not REAL.is_dir(), reason="the optional data folder is absent")
def test_official_rows_parse(tmp_path):
    rows = REAL / "official_format_rows" / "train-annotations-object-segmentation.sample.csv"
    shutil.copy(rows, tmp_path / "train-annotations-object-segmentation.csv")
    shutil.copy(REAL / "class-descriptions-boxable.csv", tmp_path)
    copy = scan(tmp_path)
    annotations, names = read_annotations(copy), read_class_names(copy)
    assert {names[mid] for by_class in annotations.images.values() for mid in by_class} == {"Man", "Clothing"}
    assert len(annotations.images) == 4
    assert not annotations.skipped
    assert len({name.casefold() for name in names.values()} & {name.casefold() for name in PAPER_CLASSES}) == 350
    assert {skip.reason for skip in load(OpenImagesConfig(str(tmp_path))).skipped} == {"image is missing"}
