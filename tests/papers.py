"""Experiments and requests that tests of ``reproduce`` share."""

from types import SimpleNamespace

from atman_bench.paper.experiments._base import Experiment, Preset
from atman_bench.paper.kinds._base import Request, Run
from atman_bench.paper.kinds.evaluation import Evaluation
from atman_bench.paper.reproduce import reproduce
from atman_bench.report import page


def experiment(run: Run, *claims, **more) -> Experiment:
    left_out = {Preset.SMALL: "not today", Preset.PAPER: "not today"}
    return Experiment("Title", "Table 9", {Preset.TINY: run}, left_out, claims=claims, **more)


def request(folder, preset: Preset = Preset.TINY, **more) -> Request:
    return Request(preset, folder, **more)


def sections(names, asked: Request) -> dict[str, page.Section]:
    return {section.name: section for section in reproduce(names, asked, lambda *_: None)}


FACTS = Evaluation({"dataset": "facts", "methods": ["fake", "noise"], "limit": 4})


def summary(*cells, uids: tuple[str, ...] = ()) -> SimpleNamespace:
    """What ``runner.evaluate`` says of a run, as far as sections read it."""
    return SimpleNamespace(cells=cells, uids=uids, unusable=())
