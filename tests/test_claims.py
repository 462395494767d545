"""What runs of each kind say of claims, and which of their maps they show."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from lines import Line, cells_of, frame_of_lines
from papers import FACTS, experiment, request, summary

from atman_bench.core.errors import ConfigError
from atman_bench.core.records import Cost, Status, TextUnits
from atman_bench.core.tensors import Explanation
from atman_bench.paper.experiments import EXPERIMENTS
from atman_bench.paper.experiments._base import Beats, Cheaper, Maps, Preset
from atman_bench.paper.kinds.costs import Costed
from atman_bench.paper.kinds.evaluation import Evaluated, Evaluation
from atman_bench.paper.kinds.grid import Swept
from atman_bench.paper.kinds.sentence import Losses, Sentence
from atman_bench.profiling.rows import ScaleRow, ScaleStatus
from atman_bench.report import costs as cost_report
from atman_bench.report import grid
from atman_bench.report.verdicts import Ending


def rows(method: str, values: dict[str, float], variant: str = "default") -> list[Line]:
    return [
        Line("x", "facts", "m", method, variant, uid, "average_precision", "positive", value, Status.OK, group=uid)
        for uid, value in values.items()
    ]


def cell(method: str, variant: str = "default") -> SimpleNamespace:
    return SimpleNamespace(identity=SimpleNamespace(method=method), variant=variant)


def verdict(claim, left: dict[str, float], right: dict[str, float], tmp_path):
    frame = frame_of_lines([*rows("atman", left, "shifted"), *rows("chefer", right)])
    config = Evaluation({"methods": ["atman", "chefer"]}).resolved(request(tmp_path))
    outcome = Evaluated({}, (), config, summary(cell("atman", "shifted"), cell("chefer")), frame)
    (found,) = outcome.verdicts(experiment(FACTS, claim))
    return found


@pytest.mark.parametrize(
    ("gain", "n", "ending"),
    [
        (0.2, 12, Ending.HOLDS),
        (-0.2, 12, Ending.OPPOSITE),
        (0.0, 12, Ending.NEGLIGIBLE),
        # Clearly larger than nothing, and perhaps as large as what matters.
        (0.0095, 12, Ending.OPEN),
        # Every interval of identical gains excludes 0, but five signs are equal by chance once in sixteen times.
        (0.2, 5, Ending.OPEN),
        (0.2, 1, Ending.OPEN),
    ],
)
def test_a_claim_holds_where_the_paired_interval_and_the_sign_test_say_so(gain, n, ending, tmp_path):
    right = {f"q{i}": 0.3 + 0.01 * i for i in range(n)}
    left = {uid: value + gain + (0.001 if i % 2 else -0.001) for i, (uid, value) in enumerate(right.items())}
    found = verdict(Beats("atman", "chefer"), left, right, tmp_path)
    assert found.ending is ending
    assert f"on {n} samples in {n} groups" in found.because


def test_only_samples_that_both_have_are_compared(tmp_path):
    right = {f"q{i}": 0.5 for i in range(10)}
    left = {uid: 0.6 for uid in right} | {f"other{i}": 0.0 for i in range(50)}
    found = verdict(Beats("atman", "chefer"), left, right, tmp_path)
    assert found.ending is Ending.HOLDS
    assert "+10.0 [+10.0, +10.0]" in found.because


@pytest.mark.parametrize("side", ["rollout", "atman:literal"])
def test_a_claim_about_a_method_that_was_not_run_is_not_tested(side, tmp_path):
    found = verdict(Beats("atman", side), {"q0": 0.5}, {"q0": 0.5}, tmp_path)
    assert found.ending is Ending.UNTESTED
    assert side in found.because


def swept(folder, points: tuple[SimpleNamespace, ...] = ()) -> Swept:
    values = {"0.1": 0.2, "0.9": 0.4}
    at_points = [({"f": f}, rows("atman", {f"q{i}": ap for i in range(10)})) for f, ap in values.items()]
    frame = grid.frame_of([(place, cells_of(lines)[0]) for place, lines in at_points], [], {"f": list(values)}, seed=0)
    return Swept({}, (), FACTS_TEXT.resolved(request(folder)), summary(*points), frame, points)


def test_maps_of_a_grid_are_those_of_all_its_points(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(
        "atman_bench.paper.kinds.grid.draw_maps", lambda *arguments: drawn.append(arguments) or {"maps": "Title"}
    )
    identity = SimpleNamespace(method="atman", dataset="scenes", dataset_options={}, model="m", units="token")
    points = tuple(SimpleNamespace(identity=identity, variant=variant) for variant in ("shifted", "shifted-softmax"))
    assert swept(tmp_path, points).draw(experiment(FACTS, maps=Maps(n=3)), tmp_path) == {"maps": "Title"}
    ((_, _, selection, _, _),) = drawn
    assert (selection.methods, selection.n) == (["atman:shifted", "atman:shifted-softmax"], 3)


def test_claims_of_sweeps_are_about_grid_points(tmp_path):
    outcome = swept(tmp_path)
    (found,) = outcome.verdicts(experiment(FACTS, Beats("f=0.9", "f=0.1", words="more helps")))
    assert (found.claim, found.ending) == ("more helps", Ending.HOLDS)


@pytest.mark.parametrize(
    ("highest", "ending"),
    [
        (" Hat", Ending.HOLDS),
        ("ha way", Ending.HOLDS),
        # A part of the evidence's characters, somewhere else in the prompt, and white space inside the evidence.
        (" a", Ending.OPPOSITE),
        (" ", Ending.OPPOSITE),
    ],
)
def test_the_token_that_matters_most_has_to_be_where_the_evidence_is(highest, ending):
    texts = ("He", " a", "sks", " Hat", "ha way", " ", "B", ".")
    prompt = "".join(texts)
    ends = list(itertools.accumulate(map(len, texts)))
    spans = tuple(zip([0, *ends[:-1]], ends, strict=True))
    scores = torch.tensor([float(text == highest) for text in texts])
    explanation = Explanation(
        "x", "atman", "v", scores, scores[None], TextUnits(texts, spans), ("it",), (-1.0,), True, Cost(1.0, 1)
    )
    sentence = Sentence("tiny-text", prompt, " it", "Hatha way B")
    (found,) = Losses({}, (), sentence, "m", explanation).verdicts(experiment(FACTS))
    assert found.ending is ending


def test_evidence_that_is_nowhere_in_the_sentence_is_refused():
    with pytest.raises(ConfigError, match="evidence must be part of the prompt"):
        Sentence("tiny-text", "He asks.", " it", "Hatha")


def cost_row(name: str, tokens: int, status: ScaleStatus = ScaleStatus.OK, **measured) -> ScaleRow:
    return ScaleRow(name, "m", "float32", "cpu", 1, name, "default", tokens, None, 1, None, status, **measured)


def costs(peaks: dict[tuple[str, int], int]) -> Costed:
    measured = [cost_row(name, tokens, peak_bytes=(p,)) for (name, tokens), p in peaks.items()]
    return Costed({}, (), cost_report.frame_of(measured))


@pytest.mark.parametrize(
    ("peaks", "ending"),
    [
        ({("a", 128): 1, ("b", 128): 2, ("a", 256): 3, ("b", 256): 4}, Ending.HOLDS),
        ({("a", 128): 1, ("b", 128): 2, ("a", 256): 5, ("b", 256): 4}, Ending.MIXED),
        ({("a", 128): 3, ("b", 128): 2}, Ending.OPPOSITE),
        ({("a", 128): 3, ("b", 256): 2}, Ending.UNTESTED),
    ],
)
def test_costs_are_compared_at_each_length(peaks, ending):
    (found,) = costs(peaks).verdicts(experiment(FACTS, Cheaper("a", "b", "peak", source="A.1")))
    assert found.source == "A.1"
    assert found.ending is ending


@pytest.mark.parametrize(("load", "ending"), [(0.0, Ending.HOLDS), (1.0, Ending.UNTESTED)])
def test_times_of_a_machine_that_was_not_quiet_do_not_count(load, ending):
    rows = [cost_row("a", 128, seconds=(1.0,), load=load), cost_row("b", 128, seconds=(2.0,), load=0.0)]
    costed = Costed({}, (), cost_report.frame_of(rows))
    (found,) = costed.verdicts(experiment(FACTS, Cheaper("a", "b", "time")))
    assert found.ending is ending
    assert ("1 cells were not quiet" in found.because) is bool(load)


def test_what_runs_out_of_memory_takes_more_than_what_does_not():
    rows = [
        cost_row("a", 128, peak_bytes=(1,)),
        cost_row("b", 128, peak_bytes=(2,)),
        cost_row("a", 256, peak_bytes=(3,)),
        cost_row("b", 256, ScaleStatus.OOM),
    ]
    (found,) = Costed({}, (), cost_report.frame_of(rows)).verdicts(experiment(FACTS, Cheaper("a", "b", "peak")))
    assert found.ending is Ending.HOLDS
    assert "2 of 2 sizes and lengths" in found.because
    assert "b alone runs out of memory at 1" in found.because


@pytest.mark.parametrize("preset", Preset)
def test_the_full_and_the_minimal_backward_pass_of_chefer_are_two_runs(preset, tmp_path):
    fig5, fig7 = (EXPERIMENTS.get(name).runs[preset].resolved(request(tmp_path)) for name in ("fig5", "fig7"))
    assert {"chefer:full"} == set(fig5.methods) - set(fig7.methods)
    assert {"chefer", "input_x_gradient", "integrated_gradients:batched", "gradcam"} == set(fig7.methods) - set(
        fig5.methods
    )
    shared = {cell.fingerprint for cell in fig5.cells} & {cell.fingerprint for cell in fig7.cells}
    assert shared  # of plain passes and AtMan, which are measured once


def test_maps_of_one_picture_are_those_of_the_picture_with_most_targets(tmp_path):
    def stored(uid: str, group: str) -> SimpleNamespace:
        return SimpleNamespace(uid=uid, group=group, finished=True, scores=(1.0,))

    identity = SimpleNamespace(method="atman", dataset="facts", dataset_options={}, model="m", units="token")
    maps = {"a1": stored("a1", "a"), "b1": stored("b1", "b"), "b2": stored("b2", "b")}
    first = SimpleNamespace(identity=identity, variant="shifted", maps=lambda: maps)
    config = FACTS_TEXT.resolved(request(tmp_path))
    outcome = Evaluated({}, (), config, summary(first, uids=tuple(maps)), frame_of_lines(rows("atman", {"q": 0.5})))
    assert outcome.selection(Maps(("atman",), n=3, one_picture=True)).uids == ["b1", "b2"]


def test_maps_of_all_methods_are_those_of_the_run_and_no_others_in_its_folder(tmp_path):
    identities = [
        SimpleNamespace(method=m, dataset="scenes", dataset_options={}, model="m", units="token")
        for m in ("atman", "random")
    ]
    cells = tuple(SimpleNamespace(identity=identity, variant="default") for identity in identities)
    config = FACTS_TEXT.resolved(request(tmp_path))
    outcome = Evaluated({}, (), config, summary(*cells), frame_of_lines(rows("atman", {"q": 0.5})))
    assert outcome.selection(Maps()).methods == ["atman"]


FACTS_TEXT = Evaluation({"methods": ["atman"]})
