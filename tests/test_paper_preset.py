"""What the preset paper would run is what the authors ran, and a dry run says all of it."""

import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from atman_bench.attention.edit import Form, RowMin
from atman_bench.attention.similarity import Similarity
from atman_bench.cli import app
from atman_bench.core.errors import ConfigError
from atman_bench.core.options import build, identity_options
from atman_bench.datasets.gqa import ExplainAt
from atman_bench.evaluation.config import RunConfig
from atman_bench.methods import METHODS
from atman_bench.methods.chefer import Objective
from atman_bench.paper.experiments import EXPERIMENTS
from atman_bench.paper.experiments._base import Preset
from atman_bench.paper.experiments._runs import ATMAN, BLIP, GPT_J_LOADING, SINGLE
from atman_bench.paper.kinds._base import Request, Run
from atman_bench.paper.kinds.chunks import Chunks
from atman_bench.paper.kinds.comparison import Comparison
from atman_bench.paper.kinds.evaluation import Evaluated, Evaluation
from atman_bench.paper.kinds.examples import Examples
from atman_bench.paper.kinds.grid import Grid
from atman_bench.paper.kinds.positions import Positions
from atman_bench.paper.reproduce import plan, plans
from atman_bench.report import grid

RUNS = {name: run for name in EXPERIMENTS.names if (run := EXPERIMENTS.get(name).runs.get(Preset.PAPER))}
OF_THE_PAPER = [name for name in RUNS if not EXPERIMENTS.get(name).paper.startswith("Not in the paper")]


@pytest.fixture
def asked(tmp_path) -> Request:
    return Request(Preset.PAPER, tmp_path)


def configs(run: Run, asked: Request) -> list[RunConfig]:
    """The evaluations that a run is made of; none where it explains single texts or measures costs."""
    match run:
        case Comparison():
            return [side.resolved(asked) for side in run.sides.values()]
        case Chunks():
            return [run.tokens.resolved(asked)]
        case Positions():
            return [run.pictures.resolved(asked)]
        case Examples():
            return [Evaluation(run.options).resolved(asked)]
        case Grid():
            return [run.resolved(asked).config]
        case Evaluation():
            return [run.resolved(asked)]
    return []


# What runs


@pytest.mark.parametrize("name", RUNS)
def test_every_shifted_edit_takes_the_released_row_minimum(name, asked):
    options = [cell.options for run in configs(RUNS[name], asked) for cell in run.cells if cell.method == "atman"]
    assert {found.row_min for found in options if found.form is Form.SHIFTED} <= {RowMin.ALL}
    assert {found.row_min for found in options if found.form is not Form.SHIFTED} <= {RowMin.VISIBLE}


def test_a_form_without_a_row_minimum_has_one_fingerprint():
    config = METHODS.get("atman").config
    given, default = (build(config, {"form": "log", **more}, "atman") for more in ({"row_min": "all"}, {}))
    assert identity_options(given) == identity_options(default)


@pytest.mark.parametrize("name", ["table1a", "table1b", "fig13"])
def test_claims_on_correlated_suppression_compare_the_released_pair(name, asked):
    run = RUNS[name]
    config = run.resolved(asked)
    cells = tuple(
        SimpleNamespace(identity=SimpleNamespace(method=cell.method), variant=cell.variant) for cell in config.cells
    )
    summary = SimpleNamespace(cells=cells, uids=())
    outcome = Evaluated({}, (), config, summary, pd.DataFrame(columns=["method", "variant"]), run.variants)
    assert [outcome.side(side)[0] for side in ("atman", ATMAN, SINGLE)] == [
        "atman:shifted-min-all-kappa0.7",
        "atman:shifted-min-all-kappa0.7",
        "atman:shifted-min-all",
    ]


def test_the_instruction_is_compared_with_and_without_correlated_suppression(asked):
    for run in configs(RUNS["instruction"], asked):
        variants = [cell.variant for cell in run.cells if cell.method == "atman"]
        assert variants == ["shifted-min-all-kappa0.7", "shifted-min-all"]


@pytest.mark.parametrize("name", ["fig11", "fig12", "fig14", "fig19"])
def test_points_of_sweeps_are_called_the_same_at_every_preset(name, asked):
    def names(preset: Preset) -> set[str]:
        sweep = EXPERIMENTS.get(name).runs[preset].resolved(asked)
        axes = [axis.name for axis in sweep.axes]
        return {grid.point_name(dict(zip(axes, point.place, strict=True))) for point in sweep.points}

    assert names(Preset.TINY) == names(Preset.PAPER)


def test_sweeps_have_one_image_of_each_class(asked):
    (run,) = configs(RUNS["fig11"], asked)
    assert (run.limit, run.dataset_options.per_class) == (256, 1)


def test_blip_is_scored_and_edited_as_released(asked):
    run = BLIP.resolved(asked)
    assert run.sign == "absolute"
    assert run.dataset_options.threshold == 50 / 255
    atman = {cell.options.similarity: cell.options for cell in run.cells if cell.method == "atman"}
    assert list(atman) == [Similarity.REF, Similarity.COSINE]  # claims are about the first
    for options in atman.values():
        edit = (options.form, options.f, options.kappa, options.most_neighbours)
        assert edit == (Form.LITERAL, 0.95, 0.1, 150)
    objectives = [cell.options.objective for cell in run.cells if cell.method == "chefer"]
    assert objectives == [Objective.ANSWER_LOSS, Objective.LOGIT]


def test_the_other_reading_of_gqa_differs_in_the_row_alone(asked):
    (words,), (own,) = (configs(RUNS[name], asked) for name in ("gqa", "gqa_own_rows"))
    assert own.dataset_options.explain_at is ExplainAt.OWN_ROWS
    assert own.dataset_options.questions == words.dataset_options.questions
    assert [cell.variant for cell in own.cells] == [cell.variant for cell in words.cells]


def test_gqas_questions_without_scene_graphs_are_asked_but_not_explained(asked):
    of_gqa = [config.run for config in RUNS["table4"].resolved(asked) if config.run.dataset == "gqa"]
    assert {run.dataset_options.explain_at for run in of_gqa} == {ExplainAt.NOTHING}


@pytest.mark.parametrize(("mine", "loading"), [(None, GPT_J_LOADING), ("hf:mine", {})])
def test_a_single_texts_model_is_loaded_as_it_is_published_but_the_users_as_it_is(mine, loading, monkeypatch, tmp_path):
    loaded = {}

    def load(name: str, **options: object) -> SimpleNamespace:
        loaded.update(options)
        return SimpleNamespace(probe=lambda: None)

    monkeypatch.setattr("atman_bench.api.explain.load_model", load)
    RUNS["fig2a"].load(Request(Preset.PAPER, tmp_path, text_model=mine))
    assert loaded == {"device": None, **loading}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"similarity": "ref"}, "'ref' needs a threshold"),
        ({"kappa": 0.7, "most_neighbours": 0}, "most_neighbours must be at least 1"),
    ],
)
def test_impossible_neighbourhoods_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        build(METHODS.get("atman").config, options, "atman")


# What a dry run says


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_every_experiment_of_the_paper_names_what_the_paper_leaves_open(name, asked):
    unknown = plan(name, asked).unknown
    assert unknown
    assert all(": " in line for line in unknown)


def test_what_the_paper_leaves_open_is_said_of_its_own_preset_only(tmp_path):
    assert plan("table1a", Request(Preset.TINY, tmp_path)).unknown == ()


@pytest.mark.parametrize("name", RUNS)
def test_a_plan_says_data_model_and_methods_or_passes(name, asked):
    planned = plan(name, asked)
    for part in planned.parts or (planned,):
        labels = [label for label, _ in part.details]
        assert {"data", "model"} <= set(labels)
        assert {"methods", "passes"} & set(labels)


def test_data_are_named_with_their_split_their_number_and_their_filters(asked):
    squad, images = (dict(plan(name, asked).details)["data"] for name in ("table1a", "fig11"))
    assert squad.startswith("squad, all 10,570 samples: ")
    assert "split='validation'" in squad
    assert images.startswith("openimages (cropped), 256 samples, chosen by seed 0: ")
    assert "min_aspect=0.8, max_aspect=1.2, min_side=200" in images


def test_forward_passes_are_those_of_all_methods_on_all_samples(asked):
    (run,) = configs(RUNS["table1b"], asked)
    a_sample = sum(cell.spec.forwards(144, 3, cell.options) for cell in run.cells)
    assert plan("table1b", asked).passes == 27_871 * a_sample


def test_a_run_of_several_experiments_is_counted_once(asked):
    first, chunks, rollout, other = plans(["table1a", "table1a_chunks", "rollout", "table1b"], asked)
    assert first.passes
    assert (chunks.what, chunks.passes, chunks.needs) == ("the run of table1a", None, ())
    assert chunks.unknown == ()
    assert [line.partition(":")[0] for line in rollout.unknown] == ["rows"]
    assert other.passes


def test_a_dry_run_of_everything_fits_120_columns(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "argv", ["atman-bench", "reproduce", "all", "--preset", "paper", "--dry-run"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    blocks = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert set(EXPERIMENTS.names) <= set(blocks)
    assert max(map(len, lines[:-1])) <= 120  # the last is a sentence
    assert any(line.split()[:2] == ["unknown", "split:"] for line in lines)
