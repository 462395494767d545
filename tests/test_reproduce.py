import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from lines import lines_of
from papers import FACTS, experiment, request, sections, summary

from atman_bench.cli import app
from atman_bench.core.errors import ModelError, UnknownNameError
from atman_bench.datasets import DATASETS
from atman_bench.datasets._chunking import split_document
from atman_bench.datasets.facts import FactsConfig
from atman_bench.evaluation import chunk_scoring, store
from atman_bench.paper import kinds
from atman_bench.paper import reproduce as reproduction
from atman_bench.paper.experiments import EXPERIMENTS
from atman_bench.paper.experiments._base import Beats, Cheaper, Experiment, Gathers, Passes, Preset, beats
from atman_bench.paper.kinds import _example_maps
from atman_bench.paper.kinds.accuracy import Accuracy
from atman_bench.paper.kinds.chunks import Chunks
from atman_bench.paper.kinds.comparison import Comparison
from atman_bench.paper.kinds.evaluation import Evaluation
from atman_bench.paper.kinds.examples import Example, Examples
from atman_bench.paper.kinds.grid import Grid
from atman_bench.paper.kinds.positions import Positions
from atman_bench.paper.reproduce import plan
from atman_bench.profiling.devices import find_device
from atman_bench.report import grid, page
from atman_bench.report._paper_scores import REPORTED
from atman_bench.report.figures import FIGURES
from atman_bench.report.verdicts import Ending


@pytest.fixture
def experiments(monkeypatch):
    """Replace the paper's experiments."""

    def install(**named: Experiment) -> None:
        monkeypatch.setitem(EXPERIMENTS.__dict__, "_own", frozenset(named))
        for name, spec in named.items():
            monkeypatch.setitem(sys.modules, f"atman_bench.paper.experiments.{name}", SimpleNamespace(SPEC=spec))

    return install


# The experiments of the paper


@pytest.mark.parametrize("name", EXPERIMENTS.names)
def test_every_experiment_says_what_it_does_at_every_preset(name):
    spec = EXPERIMENTS.get(name)
    assert set(spec.runs) | set(spec.left_out) == set(Preset)
    assert not set(spec.runs) & set(spec.left_out)
    assert set(spec.figures) <= set(FIGURES.names)


@pytest.mark.parametrize("preset", Preset)
def test_every_run_resolves_without_weights_or_data(preset, tmp_path, monkeypatch):
    def load(*_, **__):
        pytest.fail("a plan loads nothing")

    monkeypatch.setattr("atman_bench.models._load.load", load)
    monkeypatch.setattr("atman_bench.evaluation.config.load", load)
    for name in EXPERIMENTS.names:
        assert plan(name, request(tmp_path, preset)).what


@pytest.mark.parametrize("name", EXPERIMENTS.names)
def test_claims_are_about_methods_and_points_that_the_tiny_run_has(name, tmp_path):
    spec = EXPERIMENTS.get(name)
    asked, run = request(tmp_path), spec.runs.get(Preset.TINY)
    pairs = [(claim.left, claim.right) for claim in spec.claims if isinstance(claim, Beats | Cheaper | Gathers)]
    sides = [side for pair in pairs for side in pair if side is not None]
    sides += [claim.method for claim in spec.claims if isinstance(claim, Passes)]
    if isinstance(run, Chunks | Positions):
        run = run.tokens if isinstance(run, Chunks) else run.pictures
    if isinstance(run, Evaluation):
        assert_has_methods(run.resolved(asked), sides)
    elif isinstance(run, Comparison):
        for name, side in run.sides.items():
            of_side = [text.partition("/")[2] for text in sides if text.startswith(f"{name}/")]
            assert of_side
            assert_has_methods(side.resolved(asked), of_side)
    elif isinstance(run, Grid):
        sweep = run.resolved(asked)
        axes = [axis.name for axis in sweep.axes]
        points = {grid.point_name(dict(zip(axes, point.place, strict=True))) for point in sweep.points}
        assert set(sides) <= points


def assert_has_methods(config, sides) -> None:
    present = {cell.method for cell in config.cells} | {f"{c.method}:{c.variant}" for c in config.cells}
    variants = {side: replace(config, methods=((side, {}),)).cells[0] for side in sides if ":" in side}
    named = {side: f"{cell.method}:{cell.variant}" for side, cell in variants.items()}
    assert {named.get(side, side) for side in sides} <= present


def test_dry_runs_predict_every_model_of_a_comparison(tmp_path):
    parts = {part.name: part for part in plan("table1c", request(tmp_path, Preset.PAPER)).parts}
    sizes = {"MAGMA 6B": 6.43e9, "MAGMA 13B": 13e9, "MAGMA 30B": 30e9}
    assert {name: parts[name].weights_bytes for name in sizes} == {name: 2 * size for name, size in sizes.items()}
    assert parts["MAGMA 30B"].device_hours[0] > 2 * parts["MAGMA 13B"].device_hours[0]
    assert parts["BLIP"].needs[0] == "download of Salesforce/blip-vqa-capfilt-large from the hub"


def test_a_model_of_the_request_replaces_the_first_of_a_comparison_only(tmp_path):
    asked = request(tmp_path, Preset.PAPER, image_model="magma:mine")
    parts = plan("table1c", asked).parts
    assert [part.what.partition(" ")[0] for part in parts[:3]] == [
        "magma:mine",
        "blip:Salesforce/blip-vqa-capfilt-large",
        "hf:llava-hf/llava-1.5-7b-hf",
    ]


def test_the_paper_preset_names_downloads_and_predicts_memory_and_time(tmp_path):
    planned = plan("table1a", request(tmp_path, Preset.PAPER))
    assert planned.what == "hf:EleutherAI/gpt-j-6b on squad, 10570 samples"
    assert planned.needs == (
        "download of EleutherAI/gpt-j-6b (revision float16) from the hub",
        "download of the data set rajpurkar/squad from the hub",
    )
    assert planned.weights_bytes == 2 * 6.05e9
    config = EXPERIMENTS.get("table1a").runs[Preset.PAPER].resolved(request(tmp_path))
    passes = 10_570 * sum(cell.spec.forwards(153, 3, cell.options) for cell in config.cells)
    rate = find_device("A100-80GB").flops["float16"]
    reused, whole = planned.device_hours
    assert whole == pytest.approx(2 * 6.05e9 * (153 + 16 + 3) * passes / rate / 3600)
    assert 0.5 * whole < reused < 0.8 * whole


def test_models_and_data_of_the_request_replace_those_of_the_preset(tmp_path):
    asked = request(
        tmp_path, Preset.SMALL, data={"squad": "mine.json"}, text_model="hf:mine", image_model="magma:other"
    )
    text = EXPERIMENTS.get("table1a").runs[Preset.SMALL].resolved(asked)
    pictures = EXPERIMENTS.get("fig11").runs[Preset.SMALL].resolved(asked).run
    assert (text.model, text.data, pictures.model, pictures.data) == ("hf:mine", "mine.json", "magma:other", None)


def test_experiments_and_their_kinds_are_listed_without_torch():
    code = (
        "import sys; from atman_bench.paper.experiments import EXPERIMENTS\n"
        "for name in EXPERIMENTS.names: EXPERIMENTS.get(name)\n"
        "print(*sys.modules)"
    )
    root = Path(__file__).parents[1]
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout
    assert not {"torch", "matplotlib", "transformers"} & set(loaded.split())


# Running them


def test_a_section_has_the_numbers_the_figures_and_the_claims(fakes, experiments, tmp_path):
    experiments(table9=experiment(FACTS, *beats("fake", "noise"), figures=("methods_bar",)))
    section = sections(["table9"], request(tmp_path))["table9"]
    (table,) = section.tables
    assert {line[0] for line in table.lines} == {"fake", "noise"}
    assert (page.folder_of(tmp_path, "table9") / "methods_bar.png").is_file()
    assert [verdict.claim for verdict in section.verdicts] == ["fake has a higher mAP than noise"]
    assert section.manifest["environment"]["python"]
    assert [stored.section.name for stored in page.read(tmp_path)] == ["table9"]


def test_equal_runs_of_two_experiments_are_run_once_and_the_next_time_not_at_all(fakes, experiments, tmp_path):
    experiments(table8=experiment(FACTS), table9=experiment(FACTS))
    first = sections([], request(tmp_path))
    assert len(fakes.explained) == 8
    assert fakes.loads == 1
    again = sections([], request(tmp_path))
    assert len(fakes.explained) == 8
    assert json.dumps(again["table9"].tables, default=str) == json.dumps(first["table9"].tables, default=str)


def test_a_run_that_lacks_its_model_says_so_and_the_others_go_on(fakes, experiments, tmp_path):
    lacking = Evaluation({**FACTS.options, "model": "tiny-magma"})
    experiments(table8=experiment(lacking), table9=experiment(FACTS))
    found = sections([], request(tmp_path))
    assert "no model 'tiny-magma'" in found["table8"].missing
    assert found["table9"].tables


def test_a_preset_without_a_run_says_why(fakes, experiments, tmp_path):
    experiments(table9=experiment(FACTS))
    assert sections([], request(tmp_path, Preset.PAPER))["table9"].missing == "not today"
    assert fakes.loads == 0


def test_when_every_explanation_fails_the_reason_is_the_section(fakes, experiments, tmp_path):
    fakes.fail = {f"facts-held_out-0-{i:05}": ModelError("no gradients") for i in range(200)}
    experiments(table9=experiment(FACTS))
    assert "no gradients" in sections([], request(tmp_path))["table9"].missing


def test_the_papers_numbers_are_given_in_words_where_the_data_are_others(fakes, experiments, tmp_path):
    experiments(table9=experiment(FACTS, reported=REPORTED["squad"]))
    section = sections([], request(tmp_path))["table9"]
    assert "paper" not in section.tables[0].columns
    assert "chefer 72.7 / 77.5 / 96.6 / 100" in section.notes[0]


def test_unknown_experiments_are_named_with_near_misses():
    with pytest.raises(UnknownNameError, match=r"did you mean.*'table1a'"):
        reproduction.chosen(["table1"])


def test_chunks_score_stored_maps_without_explaining_again(fakes, experiments, monkeypatch, tmp_path):
    monkeypatch.setattr(chunk_scoring, "load_configured", lambda run: fakes.load_model(run.model_name))
    experiments(table8=experiment(FACTS), table9=experiment(Chunks(FACTS)))
    assert len(sections([], request(tmp_path))["table9"].tables) == 1
    assert len(fakes.explained) == 8
    config = FACTS.resolved(request(tmp_path))
    cells = [cell for cell in store.cells(tmp_path) if cell.identity.method == "fake"]
    lines = lines_of(chunk_scoring.chunk_rows(config, summary(*cells, uids=tuple(cells[0].maps()))))
    found = {line.uid: line for line in lines if line.metric == "average_precision"}
    for uid, stored in cells[0].maps().items():
        (sample,) = (s for s in DATASETS.get("facts").load(FactsConfig()).samples if s.uid == uid)
        context = sample.prompt[slice(*sample.explain)]
        words = [word for a, b in split_document(context) for word in [len(context[a:b].split())]]
        scores, label = iter(stored.scores), iter(stored.label)
        x = [max(0, *(next(scores) for _ in range(n))) for n in words]
        y = [max(next(label) for _ in range(n)) for n in words]
        assert found[uid].value == pytest.approx(sum(a * b for a, b in zip(x, y, strict=True)) / sum(x))
        assert (found[uid].n_units, found[uid].n_positive) == (len(words), sum(y))
        assert found[uid].dataset == "facts in chunks"


def test_a_comparison_pairs_the_same_samples_under_two_prompts(fakes, experiments, tmp_path):
    other = Evaluation({**FACTS.options, "datasets": {"facts": {"template": "Question: {question} {context} A:"}}})
    sides = Comparison({"plain": FACTS, "turned round": other})
    claim = Beats("turned round/fake", "plain/fake")
    experiments(table9=experiment(sides, claim, figures=("methods_bar",)))
    section = sections(["table9"], request(tmp_path))["table9"]
    assert [table.title.partition(":")[0] for table in section.tables] == ["plain", "turned round"]
    assert set(section.figures) == {"methods_bar-plain", "methods_bar-turned-round"}
    assert all((page.folder_of(tmp_path, "table9") / f"{name}.png").is_file() for name in section.figures)
    assert not any("cannot be drawn" in note for note in section.notes)
    assert "on 4 samples" in section.verdicts[0].because


def test_a_caption_names_the_experiments_own_table_and_not_that_of_the_kind_of_figure(fakes, experiments, tmp_path):
    of = {"Table 9: of a model": "Table 9", "Not in the paper": None}
    for paper, place in of.items():
        experiments(table9=replace(experiment(FACTS, figures=("methods_bar",)), paper=paper))
        (caption,) = sections([], request(tmp_path))["table9"].figures.values()
        assert "Table 1a" not in caption
        assert caption.endswith(f"({place})" if place else "as lines")


def test_a_side_that_lacks_its_model_is_noted_and_its_claims_are_not_tested(fakes, experiments, tmp_path):
    lacking = Evaluation({**FACTS.options, "model": "tiny-magma"})
    claim = Beats("large/fake", "large/noise")
    experiments(table9=experiment(Comparison({"small": FACTS, "large": lacking}), claim))
    section = sections([], request(tmp_path))["table9"]
    assert len(section.tables) == 1
    assert section.notes[0].startswith("large was not run: no model 'tiny-magma'")
    assert section.verdicts[0].ending is Ending.UNTESTED


def test_answers_are_scored_in_a_table_and_a_benchmark_without_data_is_noted(experiments, monkeypatch, tmp_path):
    adapter = SimpleNamespace(name="m", content_hash="0", dtype_name="float32", device="cpu")
    adapter.complete = lambda prompt, n, picture: " nothing at all"
    monkeypatch.setattr("atman_bench.evaluation.accuracy.load_configured", lambda run: adapter)
    benchmarks = Accuracy(({"dataset": "facts", "limit": 3}, {"dataset": "squad"}), shots=(0, 1))
    experiments(table9=experiment(benchmarks))
    section = sections([], request(tmp_path))["table9"]
    (table,) = section.tables
    shots, n, exact = (table.columns.index(name) for name in ("shots", "n", "exact match"))
    assert [(line[shots], line[n], line[exact].partition(" ")[0]) for line in table.lines] == [
        ("0", "3", "0.0"),
        ("1", "3", "0.0"),
    ]
    assert sum("squad" in note and "was not run" in note for note in section.notes) == 2


def test_examples_are_drawn_and_stored_as_data(fakes, experiments, monkeypatch, tmp_path):
    monkeypatch.setattr(_example_maps, "explain_encoded", fakes.explain_encoded)
    run = Examples({"dataset": "facts", "methods": ["fake", "noise"]}, (Example("facts-held_out-0-00000"),))
    experiments(fig99=experiment(run, figures=("examples",)))
    section = sections([], request(tmp_path))["fig99"]
    assert set(section.figures) == {"examples"}
    stored = json.loads((page.folder_of(tmp_path, "fig99") / "examples.json").read_text())
    assert [record["method"] for record in stored] == ["fake", "noise"]
    assert {record["uid"] for record in stored} == {"facts-held_out-0-00000"}
    assert any(unit["score"] for unit in stored[0]["heat"]["units"])
    assert section.tables[0].lines[0][0] == "Q: Who designed Foxglove Station? A: → Ulrich Quimby"


def test_an_example_that_the_data_lack_is_named(fakes, experiments, monkeypatch, tmp_path):
    run = Examples({"dataset": "facts", "methods": ["fake"]}, (Example("q7"),))
    experiments(fig99=experiment(run))
    assert "facts has no sample q7" in sections([], request(tmp_path))["fig99"].missing


KIND = """
from dataclasses import dataclass

from atman_bench.paper.kinds._base import Outcome, Plan, Run
from atman_bench.report.verdicts import Ending, Verdict
from atman_bench.report.render import TextTable


@dataclass(frozen=True)
class Greeting(Run):
    whom: str

    def plan(self, name, request):
        return Plan(name, f"a greeting of {self.whom}", cells=1)

    def run(self, request, progress):
        return Greeted({"whom": self.whom}, (), self.whom)


@dataclass(frozen=True)
class Greeted(Outcome):
    whom: str

    def tables(self, experiment):
        return (TextTable("Greetings", "", ("whom", "times"), ((self.whom, "1"),), (False,)),)

    def verdict(self, claim):
        return Verdict(claim.words, Ending.HOLDS, "It was said.")
"""


def test_a_kind_of_run_is_one_file(command, experiments, monkeypatch, tmp_path):
    (tmp_path / "kinds").mkdir()
    (tmp_path / "kinds" / "greeting.py").write_text(KIND)
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(tmp_path / "kinds")])
    greeting = importlib.import_module("atman_bench.paper.kinds.greeting")
    monkeypatch.delitem(sys.modules, greeting.__name__)
    experiments(table9=experiment(greeting.Greeting("all readers"), Beats("a", "b", words="greeted")))
    assert "a greeting of all readers" in command("reproduce", "--dry-run")[1]
    code, out, err = command("reproduce", "table9")
    assert (code, err) == (0, "")
    assert "greeted (sanity check): holds here" in out
    assert "| all readers | 1 |" in (tmp_path / "results" / "reproduce-tiny" / "report.md").read_text()


# The command


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run ``atman-bench`` in an empty folder; return its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            app.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


def test_reproduce_writes_a_page_that_report_makes_again(command, fakes, experiments, tmp_path):
    experiments(table9=experiment(FACTS, *beats("fake", "noise"), figures=("methods_bar",)))
    code, out, err = command("reproduce", "table9")
    assert (code, err) == (0, "")
    assert "fake has a higher mAP than noise (sanity check): undecided here" in " ".join(out.split())
    made = (tmp_path / "results" / "reproduce-tiny" / "report.html").read_text()
    assert command("report", "results/reproduce-tiny", "--out", "again.html")[0] == 0
    assert (tmp_path / "again.html").read_text() == made


def test_a_dry_run_gives_hours_from_prefix_reuse_to_whole_passes(command, tmp_path):
    code, out, _ = command("reproduce", "table1a", "--preset", "paper", "--dry-run")
    assert code == 0
    low, high = plan("table1a", request(tmp_path, Preset.PAPER)).device_hours
    assert f"{low:.1f} to {high:.1f} on one A100-80GB" in out
    assert "what prefix reuse leaves at best, to every forward pass over the whole sequence at most" in " ".join(
        out.split()
    )
    assert "at least" not in out


def test_a_dry_run_computes_and_writes_nothing(command, fakes, experiments, tmp_path):
    experiments(table9=experiment(FACTS))
    code, out, _ = command("reproduce", "table9", "--dry-run")
    assert code == 0
    assert "tiny-text on facts, 4 samples" in out
    assert (fakes.loads, list(tmp_path.iterdir())) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce", "table9"], "unknown experiment 'table9'"),
        (["reproduce", "table1a", "--text-model", "tiny-tex"], "unknown model"),
        (["reproduce", "--preset", "huge"], "unknown preset 'huge'"),
        (["reproduce", "--data", "squad"], "--data takes DATASET=PATH"),
        (["reproduce", "--data", "squat=x"], "unknown dataset 'squat': did you mean 'squad'"),
        (["report", "nowhere"], "no results folder nowhere"),
        (["report", "nowhere", "--out", "page.pdf"], "--out must end in .html or .md"),
    ],
)
def test_bad_input_is_one_line(command, arguments, message):
    code, _, err = command(*arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
