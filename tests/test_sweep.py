import itertools
import sys
from dataclasses import replace

import pytest
import torch
from lines import Line, cells_of, lines_in

from atman_bench.cli import app
from atman_bench.core.errors import ConfigError, DataError, UnknownNameError
from atman_bench.core.options import PRESETS
from atman_bench.core.records import Status
from atman_bench.evaluation import explaining, runner
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.store import cells
from atman_bench.evaluation.sweep import load_sweep
from atman_bench.report import grid
from atman_bench.report.figures import FIGURES
from atman_bench.report.grid import Split

GRID = ("methods.fake.kappa=[null, 0.7]", "methods.fake.f=[0.5, 0.9]")


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run ``atman-bench sweep`` in an empty folder; return its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["atman-bench", "sweep", *arguments])
        with pytest.raises(SystemExit) as ended:
            app.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


def grid_options(*axes: str) -> list[str]:
    return [part for axis in axes for part in ("--grid", axis)]


def row(uid: str, value: float | None, metric: str = "average_precision", status: Status = Status.OK) -> Line:
    return Line("x", "facts", "tiny", "atman", "v", uid, metric, "positive", value, status, group=f"g{uid}")


def grid_frame(points, references, places, seed):
    """``grid.frame_of`` of lines."""
    cells = [(place, cells_of(lines)[0]) for place, lines in points]
    return grid.frame_of(cells, cells_of(references), places, seed)


def frame(values: dict[str, dict[str, float | None]], seed: int | None = 0):
    """A sweep over f: f -> uid -> AP; None for a sample that failed."""
    points = [
        ({"f": f}, [row(uid, ap, status=Status.OK if ap is not None else Status.OOM) for uid, ap in of_uid.items()])
        for f, of_uid in values.items()
    ]
    return grid_frame(points, [], {"f": list(values)}, seed)


def test_the_grid_is_the_product_of_its_axes_with_the_last_one_fastest(fakes):
    sweep = load_sweep(None, {}, [], GRID)
    assert [(p.place, p.cell.options.kappa, p.cell.options.f) for p in sweep.points] == [
        (("single", "0.5"), None, 0.5),
        (("single", "0.9"), None, 0.9),
        (("0.7", "0.5"), 0.7, 0.5),
        (("0.7", "0.9"), 0.7, 0.9),
    ]


def test_options_that_are_not_swept_apply_at_every_point(fakes):
    sweep = load_sweep(None, {}, ["methods.fake.n_steps=3"], GRID)
    assert {point.cell.options.n_steps for point in sweep.points} == {3}


def test_a_setting_varies_several_options_at_once(fakes):
    sweep = load_sweep(None, {}, [], ["methods.fake={plain: {}, other: {form: literal, f: 0.1}}"])
    assert [(p.place, p.cell.options.form, p.cell.options.f) for p in sweep.points] == [
        (("plain",), "shifted", 0.9),
        (("other",), "literal", 0.1),
    ]


def test_windows_of_layers_have_short_names(fakes):
    sweep = load_sweep(None, {}, [], ["methods.fake.layers=[null, [3], [0, 1, 2], [0, 2]]"])
    assert list(sweep.axes[0].settings) == ["all", "3", "0-2", "0,2"]


def test_grid_flags_replace_axes_of_the_file(fakes, tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("grid: {methods.fake.kappa: [0.1, 0.2], methods.fake.f: [0.3]}\n")
    sweep = load_sweep(str(path), {}, [], ["methods.fake.kappa=[0.9]"])
    assert [point.place for point in sweep.points] == [("0.9", "0.3")]


@pytest.mark.parametrize(
    ("grid", "error", "said"),
    [
        ([], ConfigError, "received no grid"),
        (["methods.fake.f"], ConfigError, "--grid takes NAME"),
        (["methods.fake.f=0.5"], ConfigError, "must be a list"),
        (["methods.fake.f=[]"], ConfigError, "no values"),
        (["methods.fake.f=[0.5, 0.50]"], ConfigError, "twice"),
        (["methods.fake.f=[0.5, high]"], ConfigError, "must be a number"),
        (["methods.fake.kapa=[0.5]"], UnknownNameError, "did you mean 'kappa'"),
        (["methods.fakee.f=[0.5]"], UnknownNameError, "did you mean 'fake'"),
        (["datasets.facts.n=[1, 2]"], ConfigError, "only options of methods"),
        (["methods.fake.f=[0.5]", "methods.noise.f=[0.5]"], ConfigError, "fake and noise"),
        (["methods.fake.batch=[1, 2]"], ConfigError, "give the same maps"),
        (["methods.fake={a: {f: 0.5}, b: 3}"], ConfigError, r"methods.fake.b must hold options"),
    ],
)
def test_a_bad_grid_fails_before_anything_runs(fakes, grid, error, said):
    with pytest.raises(error, match=said):
        load_sweep(None, {}, [], grid)
    assert not fakes.loads


def test_the_paper_s_grid_is_a_preset():
    sweep = load_sweep("sweep-kappa-f", {}, [], [])
    assert len(sweep.points) == 121
    assert {options.f for options in (p.cell.options for p in sweep.points) if options.kappa is None} == {
        k / 10 for k in range(11)
    }


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("sweep-*.yaml")))
def test_every_sweep_preset_resolves_and_has_its_floors(preset):
    sweep = load_sweep(preset, {}, [], [])
    assert [cell.method for cell in sweep.config.cells[len(sweep.points) :]] == ["position", "random", "uniform"]


def test_grid_points_are_the_cells_that_eval_stores(fakes, tmp_path):
    def run(config: RunConfig) -> runner.RunSummary:
        return runner.evaluate(config, lambda done, total, doing: None)

    run(RunConfig(limit=3, results=tmp_path, methods=(("fake", {"kappa": 0.7, "f": 0.5}),)))
    swept = run(load_sweep(None, {"limit": 3, "results": tmp_path}, [], GRID).config)
    assert (swept.reused, swept.n_computed) == (3, 9)
    again = run(load_sweep(None, {"limit": 3, "results": tmp_path}, [], GRID).config)
    assert (again.reused, again.n_computed) == (12, 0)


def test_a_sample_is_encoded_once_for_all_points(fakes, monkeypatch, tmp_path):
    encoded = []
    adapter = fakes.load_model("tiny-text")
    encode = adapter.encode
    adapter.encode = lambda sample: encoded.append(sample.uid) or encode(sample)
    monkeypatch.setattr(runner, "load_configured", lambda run: adapter)
    sweep = load_sweep(None, {"limit": 2, "results": tmp_path}, [], GRID)
    runner.evaluate(sweep.config, lambda done, total, doing: None)
    # Once to see whether it fits, once to explain it.
    assert sorted(map(encoded.count, set(encoded))) == [2, 2]


def test_the_best_point_is_chosen_on_one_half_and_reported_on_the_other():
    uids = [str(i) for i in range(10)]
    tuning = grid.tuning_groups([f"g{uid}" for uid in uids], seed=0)
    # "lucky" wins where it is chosen, and loses by more elsewhere.
    values = {
        "steady": dict.fromkeys(uids, 0.5),
        "lucky": {uid: 0.6 if f"g{uid}" in tuning else 0.1 for uid in uids},
    }
    found = grid.best(frame(values))
    assert (found.point, found.held_out) == ("f=lucky", True)
    assert found.tuning.mean == pytest.approx(60)
    assert found.reported["average_precision"].mean == pytest.approx(10)
    assert (found.tuning.n, found.reported["average_precision"].n) == (5, 5)


def test_halves_share_no_group_and_depend_on_the_seed_alone():
    groups = [f"g{i}" for i in range(9)]
    halves = [grid.tuning_groups(groups, seed) for seed in range(5)]
    assert {len(half) for half in halves} == {4}
    assert len(set(halves)) > 1
    assert grid.tuning_groups(groups[::-1], 0) == halves[0]
    split = frame({"0.9": dict.fromkeys("0123", 0.5)}).groupby("group")["split"].nunique()
    assert set(split) == {1}


def test_without_a_held_out_half_there_is_a_warning():
    values = {"0.5": {"0": 0.1, "1": 0.3}, "0.9": {"0": 0.5, "1": 0.7}}
    found = grid.best(frame(values, seed=None))
    assert (found.point, found.held_out, found.reported["average_precision"].mean) == ("f=0.9", False, 60)
    assert any("chosen on the data it is reported on" in line for line in grid.describe(frame(values, seed=None)))
    assert not any("Warning" in line for line in grid.describe(frame(values)))


def test_a_single_group_cannot_be_split_and_is_reported_with_the_warning():
    alone = frame({"0.5": {"0": 0.1}, "0.9": {"0": 0.5}})
    assert set(alone["split"]) == {Split.ALL}
    assert any("Warning" in line for line in grid.describe(alone))


def test_a_point_that_failed_on_a_sample_is_no_candidate():
    values = {"0.5": {"0": 0.2, "1": 0.2}, "0.9": {"0": 1.0, "1": None}}
    found = grid.best(frame(values, seed=None))
    assert (found.point, found.candidates) == ("f=0.5", 1)


def test_only_samples_that_every_point_has_are_compared():
    compared = frame({"0.5": {"0": 0.2, "1": 0.2, "2": 0.9}, "0.9": {"1": 0.4, "0": 0.4}}, seed=None)
    assert set(compared["uid"]) == {"0", "1"}
    with pytest.raises(DataError, match="no sample"):
        frame({"0.5": {"0": 0.2}, "0.9": {"1": 0.4}})


def test_a_sample_that_another_run_skipped_at_some_points_is_left_out():
    def rows(**status: Status) -> list[Line]:
        return [row(uid, 0.5 if found is Status.OK else None, status=found) for uid, found in status.items()]

    points = [
        ({"f": "0.5"}, rows(a=Status.OK, b=Status.OK, c=Status.SKIPPED)),
        ({"f": "0.9"}, rows(a=Status.OK, b=Status.SKIPPED, c=Status.SKIPPED)),
    ]
    compared = grid_frame(points, [], {"f": ["0.5", "0.9"]}, None)
    assert set(compared["uid"]) == {"a", "c"}


def test_the_matrix_keeps_the_order_of_the_grid_and_its_holes():
    def rows(value: float | None) -> list[Line]:
        return [row("0", value, status=Status.OK if value is not None else Status.ERROR)]

    points = [
        ({"kappa": "single", "f": "1"}, rows(0.1)),
        ({"kappa": "single", "f": "0.5"}, rows(0.2)),
        ({"kappa": "0.7", "f": "1"}, rows(0.3)),
        ({"kappa": "0.7", "f": "0.5"}, rows(None)),
    ]
    swept = grid_frame(points, [], {"kappa": ["single", "0.7"], "f": ["1", "0.5"]}, None)
    means = grid.matrix(swept, "average_precision")
    assert (list(means.index), list(means.columns)) == (["single", "0.7"], ["1", "0.5"])
    assert means.to_numpy().round(6).tolist()[0] == [10, 20]
    assert means.isna().to_numpy().tolist() == [[False, False], [False, True]]
    assert grid.place_of(swept, "kappa=0.7, f=1") == (0, 1)


@pytest.fixture
def grid_of_forms():
    """Form x kappa x layers; AP rises by 0.1 from point to point, AR is half of it."""
    places = {"form": ["shifted", "log"], "kappa": ["single", "0.7"], "layers": ["all", "0"]}
    points = [
        (dict(zip(places, place, strict=True)), [row("0", (i + 1) / 10), row("0", (i + 1) / 20, "average_recall")])
        for i, place in enumerate(itertools.product(*places.values()))
    ]
    floor = replace(row("0", 0.05), method="uniform")
    return grid_frame(points, [floor], places, None)


@pytest.mark.parametrize("name", ["sweep_heatmap", "form_histograms", "layers"])
def test_figures_of_a_sweep_are_written_for_sweeps_only(name, grid_of_forms, tmp_path):
    figure = FIGURES.get(name)
    figure.draw(grid_of_forms, tmp_path / name)
    assert (tmp_path / f"{name}.png").exists()
    assert figure.lacks(grid_of_forms[[column for column in grid_of_forms if column in Line.__annotations__]])


def test_the_heat_map_shows_every_mean_and_frames_the_best(grid_of_forms):
    figure = FIGURES.get("sweep_heatmap").plot(grid_of_forms)
    panel = figure.axes[0]
    assert [text.get_text() for text in panel.texts] == [f"{10 * i:.1f}" for i in range(1, 9)]
    (frame,) = panel.patches
    assert frame.get_xy() == (0.5, 2.5)
    assert "mAP of floors: uniform 5.0" in figure.get_supxlabel()


def test_layers_are_compared_with_all_layers_of_their_own_series(grid_of_forms):
    panel = FIGURES.get("layers").plot(grid_of_forms).axes[0]
    markers = {line.get_label(): line.get_ydata() for line in panel.lines if line.get_marker() != "None"}
    assert markers["form log, kappa single"] == pytest.approx([50, 60])
    across = sorted(line.get_ydata()[0] for line in panel.lines if line.get_marker() == "None")
    assert across == pytest.approx([10, 30, 50, 70])


def test_sweep_prints_the_grid_and_writes_table_and_figures(command, fakes, tmp_path):
    code, out, err = command(*grid_options(*GRID), "--limit", "4", "--results", "out")
    assert (code, err) == (0, "")
    assert "kappa \\ f" in out
    assert "On the other half (2 samples in 2 groups)" in " ".join(out.split())
    text = (tmp_path / "out" / "sweep.md").read_text()
    assert "| kappa=single, f=0.5 |" in text
    assert (tmp_path / "out" / "figures" / "sweep_heatmap.png").exists()
    assert not (tmp_path / "out" / "figures" / "methods_bar.png").exists()


def test_sweep_of_one_axis_prints_its_points(command, fakes):
    code, out, _ = command("--grid", "methods.fake.n_steps=[1, 2]", "--limit", "2", "--no-holdout")
    assert code == 0
    assert "n_steps=2" in out
    assert "chosen on the data it is reported on" in out


def test_a_dry_run_of_a_sweep_writes_nothing(command, fakes, tmp_path):
    code, out, _ = command(*grid_options(*GRID), "--limit", "2", "--dry-run")
    assert code == 0
    assert "forward passes at most" in out
    assert not list(tmp_path.iterdir())


def test_an_interrupted_sweep_says_so_and_goes_on(command, fakes, monkeypatch):
    def interrupted(*arguments: object) -> object:
        if len(fakes.explained) == 2:
            raise KeyboardInterrupt
        return fakes.explain_encoded(*arguments)

    monkeypatch.setattr(explaining, "explain_encoded", interrupted)
    code, _, err = command(*grid_options(*GRID), "--limit", "1", "-q")
    assert code == 130
    assert "2 remain" in err
    monkeypatch.setattr(explaining, "explain_encoded", fakes.explain_encoded)
    assert command(*grid_options(*GRID), "--limit", "1", "-q") == (0, "", "")
    assert len(fakes.explained) == 4


def test_bad_input_to_sweep_is_one_line(command, fakes):
    code, out, err = command("--grid", "methods.fake.kapa=[1]")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "did you mean 'kappa'" in err


def test_f_0_is_a_null_control_of_the_embedded_model(command, tmp_path):
    torch.set_num_threads(1)
    axes = ("methods.atman.kappa=[null, 0.7]", "methods.atman.f=[0, 0.9]")
    code, _, err = command(*grid_options(*axes), "--limit", "2", "--results", "out", "-q")
    assert (code, err) == (0, "")
    maps = [stored for cell in cells(tmp_path / "out") if "f0" in cell.variant for stored in cell.maps().values()]
    assert len(maps) == 4
    assert not any(score for stored in maps for score in stored.scores)
    degenerate = {r.value for r in lines_in(tmp_path / "out") if r.metric == "degenerate" and "f0" in r.variant}
    assert degenerate == {1.0}
    line = next(s for s in (tmp_path / "out" / "sweep.md").read_text().splitlines() if "kappa=0.7, f=0 " in s)
    assert line.split(" | ")[-2] == "2"


def test_a_sweep_is_named_with_what_its_points_share():
    def swept(*variants: str) -> str:
        rows = [({"f": name}, [replace(row("0", 0.5), variant=name)]) for name in variants]
        return grid.swept(grid_frame(rows, [], {"f": list(variants)}, None))

    assert swept("shifted-kappa0.7-f0.5", "shifted-f0.5") == "atman:shifted"
    assert swept("log", "shifted-kappa0.7") == "atman"
