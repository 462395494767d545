from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest
from fakes import FakeConfig, Fakes, Form

from atman_bench.core.errors import ConfigError, UnknownNameError
from atman_bench.core.options import PRESETS, build, options_of
from atman_bench.core.records import Dtype
from atman_bench.datasets import DATASETS
from atman_bench.evaluation.config import RunConfig, load_config, resolve
from atman_bench.methods import METHODS
from atman_bench.metrics._signs import Sign


@pytest.fixture
def fakes(monkeypatch):
    Fakes().install(monkeypatch.setitem, monkeypatch.setattr)


def only_cell(config: RunConfig) -> FakeConfig:
    (cell,) = config.cells
    return cell.options


def test_the_command_line_wins_over_yaml_and_yaml_over_defaults(tmp_path, fakes):
    path = tmp_path / "run.yaml"
    path.write_text("limit: 5\nseed: 3\nmethods: {fake: {f: 0.5, n_steps: 20}}\n")
    config = load_config(str(path), {"seed": 4, "limit": None}, ["methods.fake.f=0.25", "max_tokens=99"])
    assert (config.limit, config.seed, config.max_tokens, config.dtype) == (5, 4, 99, Dtype.FLOAT32)
    assert only_cell(config) == FakeConfig(f=0.25, n_steps=20)


def test_a_flag_that_names_methods_keeps_their_options_from_the_file(tmp_path, fakes):
    path = tmp_path / "run.yaml"
    path.write_text("methods: {fake: {f: 0.5}, noise: {}}\n")
    config = load_config(str(path), {"methods": ["fake"]}, [])
    assert only_cell(config).f == 0.5


def test_the_default_is_every_method_for_text():
    methods = {cell.method for cell in RunConfig().cells}
    assert {"atman", "chefer", "rollout", "random"} <= methods
    assert "gradcam" not in methods


def test_a_variant_takes_its_options_and_further_ones(fakes):
    config = load_config(None, {"methods": ["fake:literal"]}, ["methods.fake:literal.f=0.5"])
    assert only_cell(config) == FakeConfig(form=Form.LITERAL, f=0.5)
    assert config.cells[0].variant == "f=0.5,form=literal"


def test_an_option_is_found_behind_a_variant_with_dots():
    config = load_config(None, {"methods": ["atman:log-kappa0.7"]}, ["methods.atman:log-kappa0.7.f=0.5"])
    assert (config.cells[0].options.f, config.cells[0].options.kappa) == (0.5, 0.7)


def test_methods_and_datasets_are_also_written_with_hyphens():
    config = load_config(None, {"methods": ["input-x-gradient"]}, ["methods.input-x-gradient.reduction=l2"])
    assert [name for name, _ in config.methods] == ["input_x_gradient"]


@pytest.mark.parametrize(
    ("flags", "overrides", "near"),
    [
        ({}, ["methods.atman.kapa=0.5"], "'kappa'"),
        ({}, ["datasets.facts.sed=1"], "'seed'"),
        ({}, ["limt=3"], "'limit'"),
        ({}, ["methods.atmann.f=0.5"], "'atman'"),
        ({"methods": ["atman:litteral"]}, [], "'literal'"),
        ({"methods": ["chefr"]}, [], "'chefer'"),
        ({"dataset": "fact"}, [], "'facts'"),
        ({"metrics": ["average_precison"]}, [], "'average_precision'"),
        ({"sign": "positve"}, [], "'positive'"),
        ({"dtype": "float"}, [], "'float32'"),
        ({"methods": ["chefer"]}, ["methods.atman.f=0.5"], "valid: chefer"),
    ],
)
def test_what_is_misspelt_is_named_with_what_was_meant(flags, overrides, near):
    with pytest.raises(UnknownNameError) as error:
        load_config(None, flags, overrides)
    assert near in str(error.value)
    assert "\n" not in str(error.value)


def test_a_misspelt_preset_lists_the_presets():
    with pytest.raises(UnknownNameError, match="tiny"):
        load_config("tinny", {}, [])


# Those of sweeps have a grid, which test_sweep.py reads; test_leaderboard.py reads those of the leaderboard.
@pytest.mark.parametrize(
    "preset", sorted(p.stem for p in PRESETS.glob("*.yaml") if not p.stem.startswith(("sweep-", "leaderboard-")))
)
def test_every_preset_resolves(preset):
    assert load_config(preset, {}, []).cells


@dataclass(frozen=True)
class Inner:
    x: float = 0.0


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Everything:
    """All kinds of annotation."""

    number: float = 0.0
    count: int = 0
    flag: bool = False
    text: str = ""
    path: Path = Path()
    colour: Colour = Colour.RED
    maybe: int | None = None
    name: str | None = None
    many: tuple[int, ...] = ()
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("option", "given", "kept"),
    [
        ("number", 1, 1.0),
        ("number", "1e-3", 1e-3),
        ("path", "a/b", Path("a/b")),
        ("colour", "red", Colour.RED),
        ("maybe", None, None),
        ("maybe", "none", None),
        ("maybe", 3, 3),
        ("name", "none", "none"),
        ("many", [1, 2], (1, 2)),
        ("inner", {"x": 2}, Inner(2.0)),
    ],
)
def test_values_become_what_the_annotation_says(option, given, kept):
    value = getattr(build(Everything, {option: given}, "test"), option)
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(
    ("option", "given", "expected"),
    [
        ("number", "many", "must be a number"),
        ("number", True, "must be a number"),
        ("number", float("nan"), "must be a number"),
        ("count", 1.5, "must be an integer"),
        ("count", True, "must be an integer"),
        ("flag", 1, "must be true or false"),
        ("flag", None, "must be true or false"),
        ("text", 3, "must be text"),
        ("maybe", "x", "must be an integer or null"),
        ("many", 1, "must be a list, each an integer"),
        ("many", [1, "x"], r"many\[1\] must be an integer"),
        ("inner", 3, "must be Inner"),
    ],
)
def test_a_value_of_the_wrong_type_is_one_line_that_names_it(option, given, expected):
    with pytest.raises(ConfigError, match=rf"test\.{option}.*{expected}|test\.{expected}"):
        build(Everything, {option: given}, "test")


def test_an_impossible_value_is_reported_by_the_options_themselves(fakes):
    with pytest.raises(ConfigError, match="n_steps must be at least 1"):
        load_config(None, {}, ["methods.fake.n_steps=0"])


@pytest.mark.parametrize("override", ["limit", "=3", "limit=[", "methods.fake=3", "seed.x=1", "limit=0", "model="])
def test_a_malformed_override_is_an_error(fakes, override):
    with pytest.raises(ConfigError):
        load_config(None, {}, [override])


@pytest.mark.parametrize("value", ["", [], {}])
@pytest.mark.parametrize("name", ["model", "dataset", "data", "methods", "metrics", "sign", "device"])
def test_an_empty_value_is_no_way_to_ask_for_the_default(fakes, name, value):
    for file, flags in (({name: value}, {}), ({}, {name: value})):
        with pytest.raises(ConfigError, match=f"{name} is empty: give it a value, or leave it out"):
            resolve(file, flags, [])


def test_a_dataset_that_is_set_decides_which_methods_there_are():
    images = load_config(None, {"dataset": "scenes"}, [])
    assert load_config(None, {}, ["dataset=scenes"]).cells == images.cells
    assert "gradcam" in {cell.method for cell in images.cells}
    chosen = load_config(None, {}, ["methods.gradcam.guided=true", "dataset=scenes"])
    assert next(cell.options for cell in chosen.cells if cell.method == "gradcam").guided


def test_one_method_can_run_with_several_options(fakes):
    config = RunConfig(methods=(("fake", {"f": 0.1}), ("fake", {"f": 0.2}), ("fake", {"f": 0.1})))
    assert [cell.options.f for cell in config.cells] == [0.1, 0.2]


@pytest.mark.parametrize("text", ["a: [", "- 1", "methods: 3", "methods: {fake: 3}", "methods: [{fake: {}}]"])
def test_a_malformed_file_is_an_error(tmp_path, fakes, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_config(str(path), {}, [])


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no configuration file"):
        load_config(str(tmp_path / "run.yaml"), {}, [])


def test_the_data_flag_is_the_datasets_option(tmp_path):
    config = load_config(None, {"dataset": "squad", "data": str(tmp_path)}, [])
    assert config.dataset_options.data == str(tmp_path)


def test_options_are_documented_by_the_docstring():
    first, kappa, form, *_ = options_of(FakeConfig)
    assert first.doc == "Suppression factor, continued on a second line."
    assert (kappa.type, kappa.default) == ("a number or null", "null")
    assert form.type == "shifted | literal"


@pytest.mark.parametrize("registry", [METHODS, DATASETS], ids=lambda registry: registry.kind)
def test_every_option_is_documented(registry):
    options = {f"{name}.{o.name}": o.doc for name in registry.names for o in options_of(registry.get(name).config)}
    assert not [name for name, doc in options.items() if not doc]


def test_signs_are_accepted_by_their_value():
    assert load_config(None, {"sign": "release-decoder"}, []).sign is Sign.RELEASE_DECODER
