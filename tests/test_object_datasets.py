"""Photographs with annotated objects: coco and voc, in tiny files of the official formats."""

import json
from collections import Counter

import pytest
from PIL import Image

from atman_bench.core.errors import ConfigError, DataError, UnknownNameError
from atman_bench.core.records import Boxes, PatchUnits, RegionMask, Segments
from atman_bench.datasets import coco, voc
from atman_bench.datasets._check import check
from atman_bench.datasets._objects import Evidence
from atman_bench.datasets.coco import CocoConfig
from atman_bench.datasets.voc import VocConfig
from atman_bench.metrics._align import unit_labels

SQUARE = [[0, 0, 2, 0, 2, 2, 0, 2]]


def reasons(dataset) -> Counter[str]:
    return Counter(skipped.reason for skipped in dataset.skipped)


def annotation(number: int = 1, **changes: object) -> dict:
    return {
        "id": number,
        "image_id": 7,
        "category_id": 3,
        "bbox": [0, 0, 2, 2],
        "segmentation": SQUARE,
        "area": 4,
        "iscrowd": 0,
        **changes,
    }


def without(record: dict, key: str) -> dict:
    return {name: value for name, value in record.items() if name != key}


@pytest.fixture
def read_coco(tmp_path):
    """Write an instances file and the one photograph that it lists, of 8 x 6 pixels, and load them."""

    def read(*annotations: dict, document: object = None, **options):
        (tmp_path / "val2017").mkdir(exist_ok=True)
        (tmp_path / "annotations").mkdir(exist_ok=True)
        Image.new("RGB", (8, 6)).save(tmp_path / "val2017" / "000007.jpg")
        written = {
            "images": [{"id": 7, "file_name": "000007.jpg", "width": 8, "height": 6}],
            "annotations": list(annotations),
            "categories": [{"id": 3, "name": "cat", "supercategory": "animal"}, {"id": 5, "name": "skis"}],
        }
        content = {**written, **document} if isinstance(document, dict) else document or written
        (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
        return coco.load(CocoConfig(str(tmp_path), **options))

    return read


def test_instances_of_one_category_are_the_evidence_of_one_sample(read_coco, tmp_path):
    other = annotation(2, bbox=[4, 3, 4, 3], segmentation=[[4, 3, 8, 3, 8, 6, 4, 6]])
    skis = annotation(3, category_id=5)
    cat, ski = read_coco(annotation(), other, skis).samples
    assert (cat.uid, cat.prompt, cat.target) == ("000007/cat", "This is a picture of a", " cat")
    assert (ski.prompt, ski.target) == ("This is a picture of", " skis")
    assert cat.label == Segments((8, 6), ((0, 0, 2, 0, 2, 2, 0, 2), (4, 3, 8, 3, 8, 6, 4, 6)))
    assert cat.picture.path == tmp_path / "val2017" / "000007.jpg"
    assert (cat.group, cat.facts) == ("000007", {"class": "cat", "n_objects": 2})
    units = PatchUnits((2, 2), (0, 0, 8, 6), (8, 6))
    assert unit_labels(cat.label, units, cat.picture).round(6).tolist() == [round(4 / 12, 6), 0, 0, 1]


def test_evidence_may_be_the_boxes(read_coco):
    two = annotation(), annotation(2, bbox=[4, 3, 4, 3])
    (sample,) = read_coco(*two, evidence=Evidence.BOXES, threshold=0.5).samples
    assert sample.label == Boxes(((0, 0, 2, 2), (4, 3, 8, 6)), 0.5)


@pytest.mark.parametrize("counts", [[0, 12, 36], "0<T1"], ids=["plain", "compressed"])
def test_masks_are_read_as_run_lengths(read_coco, counts):
    mask = {"size": [6, 8], "counts": counts}
    (sample,) = read_coco(annotation(segmentation=mask)).samples
    assert sample.label == Segments((8, 6), runs=((0, 12, 36),))
    # Two columns of six pixels, of four columns of patches.
    units = PatchUnits((1, 4), (0, 0, 8, 6), (8, 6))
    assert unit_labels(sample.label, units, sample.picture).tolist() == [1, 0, 0, 0]


def test_crowd_regions_are_left_out_by_count(read_coco):
    crowd = annotation(2, iscrowd=1, bbox=[4, 3, 4, 3], segmentation={"size": [6, 8], "counts": [0, 12, 36]})
    dataset = read_coco(annotation(), crowd)
    assert dataset.samples == read_coco(annotation()).samples
    assert reasons(dataset) == {"crowd region": 1}
    only = read_coco(crowd)
    assert not only.samples
    assert reasons(only) == {"crowd region": 1, "no object of the chosen classes and areas": 1}


def test_object_without_an_outline_has_its_box_unless_masks_are_asked_for(read_coco):
    boxed = annotation(2, segmentation=[], bbox=[4, 3, 4, 3])
    (sample,) = read_coco(annotation(), boxed).samples
    assert sample.label == Boxes(((0, 0, 2, 2), (4, 3, 8, 6)))
    refused = read_coco(annotation(), boxed, evidence=Evidence.MASKS)
    assert not refused.samples
    assert reasons(refused)["an object has no outline"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"bbox": [0, 0, 0, 2]},
        {"bbox": [0, 0, 2]},
        {"bbox": [9, 0, 2, 2]},
        {"bbox": [0, 0, "2", 2]},
        {"segmentation": [[0, 0, 1, 1]]},
        {"segmentation": [[0, 0, 1, 1, 2, None]]},
        {"segmentation": {"size": [8, 6], "counts": [0, 48]}},
        {"segmentation": {"size": [6, 8], "counts": [0, 47]}},
        {"segmentation": {"size": [6, 8], "counts": "o"}},
        {"segmentation": {"size": [6, 8], "counts": [0, "48"]}},
    ],
    ids=str,
)
def test_category_with_a_malformed_annotation_is_left_out_of_the_image(read_coco, change):
    dataset = read_coco(annotation(), annotation(2, **change), annotation(3, category_id=5))
    assert [sample.uid for sample in dataset.samples] == ["000007/skis"]
    assert reasons(dataset)["malformed annotation (its category is left out of this image)"] == 1


def test_annotations_of_nothing_and_missing_pictures_are_counted(read_coco):
    images = [
        {"id": 7, "file_name": "000007.jpg", "width": 8, "height": 6},
        {"id": 8, "file_name": "000008.jpg", "width": 8, "height": 6},
    ]
    found = [annotation(), annotation(2, image_id=99), annotation(3, category_id=99), annotation(4, image_id=8)]
    dataset = read_coco(document={"images": images, "annotations": found})
    assert [sample.uid for sample in dataset.samples] == ["000007/cat"]
    assert reasons(dataset) == {
        "annotation of an image that the file does not list": 1,
        "annotation of a category that the file does not list": 1,
        "picture file is missing": 1,
    }
    resized = read_coco(document={"images": [{**images[0], "width": 16, "height": 12}], "annotations": [annotation()]})
    assert reasons(resized) == {"picture is of another size than its annotation says": 1}


def test_classes_are_chosen_by_name_area_and_number(read_coco):
    found = [annotation(), annotation(2, category_id=5, bbox=[0, 0, 8, 6])]
    assert [s.facts["class"] for s in read_coco(*found, classes=("skis",)).samples] == ["skis"]
    assert [s.facts["class"] for s in read_coco(*found, max_area=0.5).samples] == ["cat"]
    assert [s.facts["class"] for s in read_coco(*found, min_area=0.5).samples] == ["skis"]
    assert len(read_coco(*found, per_image=1).samples) == 1
    with pytest.raises(UnknownNameError, match="unknown class of coco 'dog'"):
        read_coco(*found, classes=("dog",))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "should be dict, found list"),
        ({"images": 3}, "'images' should be list, found int"),
        ({"images": []}, "lists no picture"),
        ({"images": [3]}, r"images\[0\] should be dict"),
        ({"categories": [{"id": 3}]}, r"categories\[0\] lacks 'name'"),
        ({"annotations": [without(annotation(), "bbox")]}, r"annotations\[0\] lacks 'bbox'"),
        ({"annotations": [annotation(segmentation="x")]}, "'segmentation' should be dict, found str"),
        ({"annotations": [annotation(segmentation={"size": [6, 8]})]}, "'counts' should be list, found NoneType"),
        ({"annotations": [annotation(image_id="7")]}, "'image_id' should be int, found str"),
        ({"images": [{"id": 7, "file_name": "x", "width": 0, "height": 6}]}, "at least 1, found 0 and 6"),
    ],
)
def test_malformed_instances_are_one_clear_line(read_coco, document, said):
    with pytest.raises(DataError, match=said) as caught:
        read_coco(document=document if isinstance(document, dict) else [1])
    assert "\n" not in str(caught.value)


def test_instances_file_is_the_only_one_or_the_one_that_is_named(read_coco, tmp_path):
    read_coco(annotation())
    (tmp_path / "annotations" / "instances_train2017.json").write_text("{}")
    with pytest.raises(DataError, match="say which one to read with the option instances"):
        coco.load(CocoConfig(str(tmp_path)))
    assert len(coco.load(CocoConfig(str(tmp_path), instances="annotations/instances_val2017.json")).samples) == 1


OBJECT = (
    "<object><name>{}</name>{}<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def xml(*objects: str, width: int = 8, height: int = 6) -> str:
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>a.jpg</filename>{size}{''.join(objects)}</annotation>"


def an_object(name: str = "cat", box: tuple[object, ...] = (1, 1, 4, 3), extra: str = "") -> str:
    return OBJECT.format(name, extra, *box)


@pytest.fixture
def read_voc(tmp_path):
    """Write photographs of 8 x 6 pixels with their annotations, masks for some, and load them."""

    def read(annotations: dict[str, str], masked: tuple[str, ...] = (), **options):
        for folder in ("Annotations", "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (tmp_path / folder).mkdir(exist_ok=True, parents=True)
        for name, content in annotations.items():
            (tmp_path / "Annotations" / f"{name}.xml").write_text(content)
            Image.new("RGB", (8, 6)).save(tmp_path / "JPEGImages" / f"{name}.jpg")
        for name in masked:
            mask = Image.new("P", (8, 6), 255)
            mask.putpalette([value for i in range(256) for value in (i, 0, 0)])
            mask.paste(8, (0, 0, 4, 3))
            mask.save(tmp_path / "SegmentationClass" / f"{name}.png")
        return voc.load(VocConfig(str(tmp_path), **options))

    return read


def test_boxes_count_pixels_from_one_and_include_the_last(read_voc):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    (sample,) = read_voc({"a": xml(an_object(extra=part), an_object(box=(5, 4.0, 8, 6)))}).samples
    assert sample.label == Boxes(((0, 0, 4, 3), (4, 3, 8, 6)))
    assert (sample.uid, sample.target, sample.facts) == ("a/cat", " cat", {"class": "cat", "n_objects": 2})
    units = PatchUnits((2, 2), (0, 0, 8, 6), (8, 6))
    assert unit_labels(sample.label, units, sample.picture).tolist() == [1, 0, 0, 1]


def test_masks_are_evidence_where_there_are_some(read_voc, tmp_path):
    files = {"a": xml(an_object(box=(1, 1, 8, 6))), "b": xml(an_object())}
    masked, boxed = read_voc(files, masked=("a",)).samples
    assert masked.label == RegionMask((tmp_path / "SegmentationClass" / "a.png",), 8)
    units = PatchUnits((2, 2), (0, 0, 8, 6), (8, 6))
    assert unit_labels(masked.label, units, masked.picture).tolist() == [1, 0, 0, 0]
    assert boxed.label == Boxes(((0, 0, 4, 3),))
    assert {type(s.label) for s in read_voc(files, evidence=Evidence.BOXES).samples} == {Boxes}
    only = read_voc(files, evidence=Evidence.MASKS)
    assert [sample.group for sample in only.samples] == ["a"]
    assert reasons(only)["the picture has no mask of the class"] == 1


def test_names_of_two_words_are_written_so(read_voc):
    (sample,) = read_voc({"a": xml(an_object("tvmonitor"))}).samples
    assert (sample.prompt, sample.target) == ("This is a picture of a", " tv monitor")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<annotation>",
        xml("<object><name>cat</name></object>"),
        xml(an_object(name="")),
        xml(an_object(box=("x", 1, 2, 2))),
        xml(an_object(box=(4, 1, 2, 2))),
        xml(an_object(box=("nan", 1, 2, 2))),
        xml(an_object(box=(9, 1, 12, 2))),
        "<annotation><size><width>8</width></size></annotation>",
        '<!DOCTYPE a [<!ENTITY x "cat"><!ENTITY y "&x;&x;">]><annotation>&z;</annotation>',
    ],
    ids=range(10),
)
def test_malformed_annotation_is_counted_and_the_others_are_read(read_voc, content):
    dataset = read_voc({"a": content, "b": xml(an_object())})
    assert [sample.group for sample in dataset.samples] == ["b"]
    assert reasons(dataset) == {"annotation is malformed": 1}


def test_missing_and_resized_pictures_are_counted(read_voc, tmp_path):
    files = {"a": xml(an_object()), "b": xml(an_object(), width=9), "c": xml(), "d": xml(an_object())}
    read_voc(files)
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    (tmp_path / "JPEGImages" / "d.jpg").write_bytes(b"no picture")
    assert reasons(voc.load(VocConfig(str(tmp_path)))) == {
        "picture file is missing": 1,
        "picture is of another size than its annotation says": 1,
        "no object of the chosen classes and areas": 1,
        "picture file is truncated or no picture": 1,
    }


def test_image_set_lists_what_is_read(read_voc, tmp_path):
    files = {"a": xml(an_object()), "b": xml(an_object())}
    read_voc(files)
    listed = tmp_path / "ImageSets" / "Segmentation" / "val.txt"
    listed.write_text("b  1\n")
    assert [s.group for s in voc.load(VocConfig(str(tmp_path), image_set="Segmentation/val")).samples] == ["b"]
    listed.write_text("z\n")
    with pytest.raises(DataError, match="names 'z', which has no annotation"):
        voc.load(VocConfig(str(tmp_path), image_set="Segmentation/val"))
    with pytest.raises(ConfigError, match="within the data folder"):
        voc.load(VocConfig(str(tmp_path), image_set="../../x"))


@pytest.mark.parametrize("dataset", [coco, voc], ids=lambda module: module.__name__)
def test_missing_folders_and_impossible_options_are_one_clear_line(tmp_path, dataset):
    config = dataset.SPEC.config
    with pytest.raises(ConfigError, match="needs data"):
        dataset.load(config())
    for path, said in ((tmp_path / "missing", "is no folder"), (tmp_path, "holds no ")):
        with pytest.raises(DataError, match=said) as caught:
            dataset.load(config(str(path)))
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="0 <= min_area <= max_area <= 1"):
        config(min_area=0.5, max_area=0.4)
    with pytest.raises(ConfigError, match="per_image must be at least 1"):
        config(per_image=0)


def test_check_decodes_what_the_samples_name(read_coco, read_voc, tmp_path):
    # An outline between the centres of pixels covers none.
    thin = annotation(2, category_id=5, segmentation=[[0.1, 0.1, 0.2, 0.1, 0.2, 0.2]])
    checked = check(read_coco(annotation(), thin, annotation(3, iscrowd=1)))
    assert (checked.usable, checked.problems) == (1, {"crowd region": 1, "masks are empty": 1})
    (tmp_path / "SegmentationClass").mkdir()
    (tmp_path / "SegmentationClass" / "b.png").write_bytes(b"no picture")
    files = {"a": xml(an_object()), "b": xml(an_object()), "c": xml(an_object(name="sofa"))}
    checked = check(read_voc(files, masked=("a", "c")))
    problems = {"mask: picture file is truncated or no picture": 1, "masks are empty": 1}
    assert (checked.usable, checked.problems) == (1, problems)


def test_tables_say_which_evidence_was_chosen():
    assert coco.SPEC.label(CocoConfig(evidence=Evidence.BOXES)) == "boxes"
    assert voc.SPEC.label(VocConfig()) == ""
