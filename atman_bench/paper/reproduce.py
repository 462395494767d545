"""Runs the paper's experiments: what is missing of each, then its tables, its figures and the verdict on each claim.

All runs of a preset share one results folder and are stored as their own commands store them, so a run that was stopped
goes on where it was, and equal runs of several experiments are run once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from atman_bench.core.errors import DataError, SampleError, UnknownNameError
from atman_bench.paper.experiments import EXPERIMENTS
from atman_bench.paper.experiments._base import Experiment, Preset
from atman_bench.paper.kinds._base import NOT_RUNNABLE, Outcome, Plan, Request, untested
from atman_bench.report import page
from atman_bench.report._paper_scores import in_words
from atman_bench.report.figure_files import FigureFormat
from atman_bench.report.page import Section

if TYPE_CHECKING:
    from atman_bench.evaluation.runner import Progress

ALL = "all"
"""Names every experiment."""


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The experiments of some names; ``all``, or none, are all of them.

    Raises:
        UnknownNameError: No such experiment.
    """
    if not names or ALL in names:
        return tuple(page.in_order(EXPERIMENTS.names))
    if unknown := [name for name in names if name.replace("-", "_") not in EXPERIMENTS.names]:
        raise UnknownNameError(EXPERIMENTS.kind, unknown[0], (*EXPERIMENTS.names, ALL))
    return tuple(dict.fromkeys(name.replace("-", "_") for name in names))


def plan(name: str, request: Request) -> Plan:
    """Check everything that an experiment would be run with, without loading weights or data.

    Raises:
        UnknownNameError: A model family, dataset, method or option does not exist.
        ConfigError: A value is impossible.
    """
    experiment = EXPERIMENTS.get(name)
    run = experiment.runs.get(request.preset)
    if run is None:
        return Plan(name, f"nothing: {experiment.left_out[request.preset]}")
    unknown = experiment.unknown if request.preset is Preset.PAPER else ()
    return replace(run.plan(name, request), unknown=unknown)


def plans(names: Sequence[str], request: Request) -> list[Plan]:
    """The plan of each experiment; one whose run an earlier one has costs nothing more, and says so.

    Raises:
        UnknownNameError: See ``plan``.
        ConfigError: See ``plan``.
    """
    found = []
    first: dict[str, Plan] = {}
    for name in names:
        planned = plan(name, request)
        run = EXPERIMENTS.get(name).runs.get(request.preset)
        owner = planned if run is None else first.setdefault(repr(run.computed), planned)
        if owner is not planned:
            added = tuple(unknown for unknown in planned.unknown if unknown not in owner.unknown)
            planned = Plan(name, f"the run of {owner.name}", unknown=added)
        found.append(planned)
    return found


def reproduce(
    names: Sequence[str],
    request: Request,
    progress: "Progress",
    formats: Sequence[FigureFormat] = (FigureFormat.PNG,),
) -> Iterator[Section]:
    """Run experiments and store a section for each.

    What lacks its model or data is a section that says so, and the others go on.

    Args:
        names: Of experiments.
        request: Preset, models and data.
        progress: Called before each explanation.
        formats: What figures are written as.

    Raises:
        UnknownNameError: No such experiment or model family.
        StoreError: The results cannot be read or written.
        KeyboardInterrupt: Ctrl-C; what is finished is stored.
    """
    for name in chosen(names):
        # A misspelt model should end the command now, and not be the reason why nothing was run.
        plan(name, request)
    done: dict[str, Outcome | str] = {}
    for name in chosen(names):
        experiment = EXPERIMENTS.get(name)
        section = Section(name, experiment.title, experiment.paper, request.preset.value, request.command(name))
        run = experiment.runs.get(request.preset)
        if run is None:
            section = _not_run(section, experiment, experiment.left_out[request.preset])
        else:
            key = repr(run)
            if key not in done:
                try:
                    done[key] = run.run(request, progress)
                except NOT_RUNNABLE as error:
                    done[key] = " ".join(str(error).split())
            section = _filled(section, experiment, done[key], page.folder_of(request.results, name), formats)
        page.write(request.results, section)
        yield section


def _not_run(section: Section, experiment: Experiment, why: str) -> Section:
    """A section that says why nothing was run, which is also why its claims are not tested."""
    return replace(section, missing=why, verdicts=tuple(untested(claim, why) for claim in experiment.claims))


def _filled(
    section: Section,
    experiment: Experiment,
    outcome: Outcome | str,
    folder: Path,
    formats: Sequence[FigureFormat],
) -> Section:
    """A section with what a run gave, or with the reason why it could not be run."""
    if isinstance(outcome, str):
        return _not_run(section, experiment, outcome)
    failed: tuple[str, ...] = ()
    try:
        figures = outcome.draw(experiment, folder, formats)
    except (DataError, SampleError) as error:
        figures, failed = {}, (f"No figure: {error}",)
    printed = () if experiment.reported is None else (in_words(experiment.reported),)
    # Figures of several frames end in the frame's name.
    drawn = {name.partition("-")[0] for name in figures}
    undrawn = [name for name in experiment.figures if name not in drawn]
    if undrawn and not failed:
        failed = (f"Rows of this run cannot be drawn as {', '.join(undrawn)}.",)
    return replace(
        section,
        tables=outcome.tables(experiment),
        figures=figures,
        verdicts=outcome.verdicts(experiment),
        notes=(*printed, *experiment.readings, *outcome.notes, *failed),
        manifest=outcome.manifest,
    )
