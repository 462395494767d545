import json
from pathlib import Path

import pytest
from PIL import Image

from atman_bench.core.errors import ConfigError, DataError, UnknownNameError
from atman_bench.core.records import RegionMask
from atman_bench.datasets import caltech101, ccp
from atman_bench.datasets._class_prompts import class_name, naming_prompt
from atman_bench.datasets._photos import file_in
from atman_bench.datasets.caltech101 import Caltech101Config
from atman_bench.datasets.ccp import CcpConfig

DATA = Path(__file__).parents[2] / "shared" / "data"
NAMES = ["null", "dress", "hair", "shoes"]


@pytest.mark.parametrize(
    ("label", "prompt"),
    [
        ("sweater", "This is a picture of a"),
        ("umbrella", "This is a picture of an"),
        ("Orange", "This is a picture of an"),
        ("shoes", "This is a picture of"),
        ("Hair", "This is a picture of"),
        ("dress", "This is a picture of a"),
        ("snoopy", "This is a picture of"),
    ],
)
def test_prompt_has_the_article_that_the_label_needs(label, prompt):
    assert naming_prompt(label) == prompt


def test_class_is_named_in_lower_case_with_spaces():
    assert [class_name(folder) for folder in ("inline_skate", "Motorbikes", "Faces_easy")] == [
        "inline skate",
        "motorbikes",
        "faces easy",
    ]


def picture(path: Path, mode: str = "RGB") -> None:
    Image.new(mode, (8, 6)).save(path)


def reasons(dataset) -> list[tuple[str, str]]:
    return [(skipped.uid, skipped.reason) for skipped in dataset.skipped]


def dump(content: object) -> str:
    return content if isinstance(content, str) else json.dumps(content)


@pytest.fixture
def read_ccp(tmp_path):
    """Write a folder with a photograph and a mask for each listed area, and load it."""

    for part in ("images", "masks"):
        (tmp_path / part).mkdir()

    def read(areas: object, names: object = NAMES, **options):
        for name in areas if isinstance(areas, dict) else ():
            picture(tmp_path / "images" / f"{name}.jpg")
            picture(tmp_path / "masks" / f"{name}.png", "L")
        (tmp_path / "labels.json").write_text(dump(names))
        (tmp_path / "pixel_level_areas.json").write_text(dump(areas))
        return ccp.load(CcpConfig(str(tmp_path), **options))

    return read


def test_garment_becomes_a_sample_with_its_own_value_of_the_mask(read_ccp, tmp_path):
    (sample,) = read_ccp({"0001": {"hair": 0.2}}, threshold=0.5).samples
    assert (sample.uid, sample.prompt, sample.target) == ("0001/hair", "This is a picture of", " hair")
    assert sample.label == RegionMask((tmp_path / "masks" / "0001.png",), value=2, threshold=0.5)
    assert sample.picture.path == tmp_path / "images" / "0001.jpg"
    assert (sample.explain, sample.group, sample.facts) == (None, "0001", {"class": "hair"})


def test_labels_are_chosen_by_area_and_name_and_never_the_background(read_ccp):
    areas = {"a": {"null": 0.5, "dress": 0.6, "hair": 0.61, "shoes": 0.02}, "b": {"hair": 0.019}}
    dataset = read_ccp(areas, per_image=None)
    assert {sample.uid for sample in dataset.samples} == {"a/dress", "a/shoes"}
    assert reasons(dataset) == [("b", "no label of the chosen names and areas")]
    assert [sample.uid for sample in read_ccp(areas, labels=("shoes",)).samples] == ["a/shoes"]


def test_seeded_choice_of_a_picture_grows_with_per_image_and_ignores_other_pictures(read_ccp):
    areas = {f"{i}": dict.fromkeys(NAMES, 0.1) for i in range(20)}
    one, two, other = (read_ccp(areas, **o).samples for o in ({}, {"per_image": 2}, {"seed": 1}))
    assert [s.group for s in one] == sorted(areas)
    assert {s.uid for s in one} < {s.uid for s in two}
    assert {s.uid for s in one} != {s.uid for s in other}
    assert {s.facts["class"] for s in one} == {"dress", "hair", "shoes"}
    assert read_ccp({"7": areas["7"]}).samples == tuple(s for s in one if s.group == "7")


def test_missing_files_and_unknown_labels_are_counted_and_the_run_goes_on(read_ccp, tmp_path):
    picture(tmp_path / "images" / "unmasked.jpg")
    picture(tmp_path / "masks" / "unseen.png", "L")
    picture(tmp_path / "images" / "unlisted.jpg")
    picture(tmp_path / "masks" / "unlisted.png", "L")
    dataset = read_ccp({"a": {"dress": 0.1, "crown": 0.1}})
    assert [sample.uid for sample in dataset.samples] == ["a/dress"]
    assert reasons(dataset) == [
        ("a/crown", "label is not in labels.json"),
        ("unlisted", "areas of the labels are missing"),
        ("unmasked", "mask file is missing"),
        ("unseen", "picture file is missing"),
    ]


def test_listed_picture_that_the_folder_lacks_is_no_part_of_it(read_ccp, tmp_path):
    read_ccp({"a": {"dress": 0.1}, "b": {"dress": 0.1}})
    (tmp_path / "images" / "b.jpg").unlink()
    (tmp_path / "masks" / "b.png").unlink()
    dataset = ccp.load(CcpConfig(str(tmp_path)))
    assert ([sample.group for sample in dataset.samples], dataset.skipped) == (["a"], ())


@pytest.mark.parametrize(
    ("areas", "names", "said"),
    [
        ("{", NAMES, "no valid JSON"),
        ([], NAMES, "should be dict, found list"),
        ({"a": []}, NAMES, "'a' should be dict, found list"),
        ({"a": {"dress": "large"}}, NAMES, "'dress' should be a number, found str"),
        ({"a": {"dress": 0.1}}, {}, "should be list, found dict"),
        ({"a": {"dress": 0.1}}, ["null", 1], r"\[1\] should be str, found int"),
        ({"a": {"dress": 0.1}}, ["null", "dress", "dress"], "has a name twice"),
    ],
)
def test_wrong_content_of_ccp_is_one_clear_line(read_ccp, areas, names, said):
    with pytest.raises(DataError, match=said) as caught:
        read_ccp(areas, names)
    assert "\n" not in str(caught.value)


@pytest.fixture
def read_caltech(tmp_path):
    """Write segmented.json beside two photographs with masks and one with neither, and load it."""
    for name in ("image_0001", "image_0002"):
        picture(tmp_path / f"{name}.jpg")
        picture(tmp_path / f"{name}.png", "L")

    def read(index: object, **options):
        (tmp_path / "segmented.json").write_text(dump(index))
        return caltech101.load(Caltech101Config(str(tmp_path), **options))

    return read


def listed(image: str, mask: str | None = None, category: str = "inline_skate") -> dict[str, str]:
    return {"image": f"{image}.jpg", "mask": f"{mask or image}.png", "class": category}


def test_segmented_picture_becomes_a_sample_named_by_its_class(read_caltech, tmp_path):
    (sample,) = read_caltech([listed("image_0001")], threshold=0.5).samples
    assert sample.uid == "inline_skate/image_0001"
    assert (sample.prompt, sample.target) == ("This is a picture of an", " inline skate")
    assert sample.label == RegionMask((tmp_path / "image_0001.png",), value=None, threshold=0.5)
    assert sample.picture.path == tmp_path / "image_0001.jpg"
    assert (sample.explain, sample.group, sample.facts) == (None, "image_0001.jpg", {"class": "inline skate"})


def test_missing_and_repeated_pictures_are_counted_and_the_run_goes_on(read_caltech):
    first = listed("image_0001")
    dataset = read_caltech([first, first, listed("gone", "image_0001"), listed("image_0002", "gone")])
    assert [sample.uid for sample in dataset.samples] == ["inline_skate/image_0001"]
    assert reasons(dataset) == [
        ("inline_skate/image_0001", "duplicate picture"),
        ("inline_skate/gone", "picture file is missing"),
        ("inline_skate/image_0002", "mask file is missing"),
    ]


def test_per_class_keeps_the_first_usable_pictures_of_each_class(read_caltech):
    index = [listed("gone"), listed("image_0001"), listed("image_0002"), listed("image_0002", category="ant")]
    dataset = read_caltech(index, per_class=1)
    assert [sample.uid for sample in dataset.samples] == ["inline_skate/image_0001", "ant/image_0002"]


def test_content_hash_follows_the_list_and_the_sizes_of_used_files(read_caltech, tmp_path):
    first = read_caltech([listed("image_0001")]).content_hash
    (tmp_path / "image_0002.jpg").write_bytes(b"")
    assert read_caltech([listed("image_0001")]).content_hash == first
    (tmp_path / "image_0001.png").write_bytes(b"")
    assert read_caltech([listed("image_0001")]).content_hash != first


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("[", "no valid JSON"),
        ({}, "should be list, found dict"),
        ([], "lists no picture"),
        (["a.jpg"], r"\[0\] should be dict, found str"),
        ([{"image": "a.jpg", "mask": "a.png"}], r"\[0\] lacks 'class'"),
        ([{"image": 1, "mask": "a.png", "class": "ant"}], "'image' should be str, found int"),
    ],
)
def test_wrong_content_of_caltech_is_one_clear_line(read_caltech, index, said):
    with pytest.raises(DataError, match=said) as caught:
        read_caltech(index)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "config"), [(ccp, CcpConfig), (caltech101, Caltech101Config)], ids=["ccp", "caltech"]
)
def test_missing_data_is_one_line_that_names_the_layout(tmp_path, module, config):
    with pytest.raises(ConfigError, match=r"needs data: .*\.json"):
        module.load(config())
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(DataError, match=r"with .*\.json") as caught:
            module.load(config(str(folder)))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (CcpConfig, {"min_area": 0.5, "max_area": 0.1}),
        (CcpConfig, {"max_area": 2.0}),
        (CcpConfig, {"per_image": 0}),
        (CcpConfig, {"threshold": 0.0}),
        (Caltech101Config, {"per_class": 0}),
        (Caltech101Config, {"threshold": 1.5}),
    ],
)
def test_impossible_options_are_config_errors(config, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        config(**options)


@pytest.mark.parametrize("label", ["dres", "null"])
def test_asking_for_a_label_that_does_not_exist_names_the_valid_ones(read_ccp, label):
    with pytest.raises(UnknownNameError, match="valid: dress, hair, shoes"):
        read_ccp({"a": {"dress": 0.1}}, labels=(label,))


@pytest.mark.skipif(not (DATA / "ccp").exists(), reason="optional data folder is absent")
def test_every_real_photograph_of_ccp_has_a_label_of_two_to_sixty_percent():
    dataset = ccp.load(CcpConfig(str(DATA / "ccp")))
    assert (len(dataset.samples), dataset.skipped) == (400, ())


@pytest.mark.skipif(not (DATA / "caltech101").exists(), reason="optional data folder is absent")
def test_every_segmented_photograph_of_caltech101_is_usable():
    dataset = caltech101.load(Caltech101Config(str(DATA / "caltech101")))
    assert (len(dataset.samples), dataset.skipped) == (286, ())


def test_files_are_found_in_a_folder_that_is_given_relative_to_a_parent(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "a.png").touch()
    (tmp_path / "outside.png").touch()
    monkeypatch.chdir(tmp_path / "elsewhere")
    folder = Path("../data")
    assert file_in(folder, "a.png") == folder / "a.png"
    assert file_in(folder, "../outside.png") is None
    assert file_in(folder, str(tmp_path / "outside.png")) is None
