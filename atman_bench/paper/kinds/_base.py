"""What a kind of run defines.

Experiments are listed without torch, so files of kinds import whatever loads it inside functions.
"""

import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atman_bench.core.errors import ConfigError, DataError, ModelError, SampleError
from atman_bench.paper.experiments._base import Beats, Cheaper, Claim, Experiment, Preset, Undecided
from atman_bench.report.figure_files import FigureFormat
from atman_bench.report.render import TextTable
from atman_bench.report.verdicts import Ending, Verdict

if TYPE_CHECKING:
    from atman_bench.evaluation.driver.loop import Driver
    from atman_bench.evaluation.runner import Progress

NOT_RUNNABLE = (ConfigError, DataError, ModelError, SampleError)
"""What a run that lacks its model or data raises."""


@dataclass(frozen=True)
class Request:
    """What ``atman-bench reproduce`` is told.

    Attributes:
        preset: How much of the paper.
        results: Folder of the results.
        data: Dataset -> where it is.
        text_model: Replaces the preset's model of texts.
        image_model: Replaces the preset's model of images.
        device: A torch device, or None for CUDA where there is one.
        driver: Runs evaluations on many workers; None in this process.
    """

    preset: Preset
    results: Path
    data: Mapping[str, str] = field(default_factory=dict)
    text_model: str | None = None
    image_model: str | None = None
    device: str | None = None
    driver: "Driver | None" = field(default=None, compare=False, repr=False)

    def command(self, name: str) -> str:
        """What makes an experiment's section again."""
        parts = ["atman-bench", "reproduce", name, "--preset", self.preset.value, "--results", str(self.results)]
        for dataset, path in self.data.items():
            parts += ["--data", f"{dataset}={path}"]
        for flag in ("text_model", "image_model", "device"):
            if (value := getattr(self, flag)) is not None:
                parts += [f"--{flag.replace('_', '-')}", value]
        return shlex.join(parts)


@dataclass(frozen=True)
class Plan:
    """What would be run for one experiment.

    Attributes:
        name: Of the experiment, or of a part of it.
        what: Model, data and size in words, or why nothing is run.
        details: What it is run with, line by line: ``data``, ``model`` and so on -> words.
        cells: Methods or grid points.
        passes: Full-length forward passes of all methods on all samples, backward ones included, if that can be said.
        needs: Downloads and files.
        weights_bytes: Memory that the model's weights take, where its size is known.
        device_hours: Hours on one device at its peak rate, where that can be said: with prefix reuse, and with every
            forward pass over the whole sequence.
        unknown: What the paper does not say, and what is taken.
        parts: Its runs, where it has several.
    """

    name: str
    what: str
    details: tuple[tuple[str, str], ...] = ()
    cells: int = 0
    passes: float | None = None
    needs: tuple[str, ...] = ()
    weights_bytes: float | None = None
    device_hours: tuple[float, float] | None = None
    unknown: tuple[str, ...] = ()
    parts: tuple["Plan", ...] = ()

    @classmethod
    def of_parts(cls, name: str, parts: Sequence["Plan"]) -> "Plan":
        """A plan of several runs, one model loaded at a time."""
        hours = [part.device_hours for part in parts if part.device_hours]
        passes = [part.passes for part in parts if part.passes is not None]
        return cls(
            name,
            f"{len(parts)} runs",
            cells=sum(part.cells for part in parts),
            passes=sum(passes) if passes else None,
            needs=tuple(dict.fromkeys(need for part in parts for need in part.needs)),
            weights_bytes=max((part.weights_bytes for part in parts if part.weights_bytes), default=None),
            device_hours=(sum(low for low, _ in hours), sum(high for _, high in hours)) if hours else None,
            parts=tuple(parts),
        )


@dataclass(frozen=True)
class Run(ABC):
    """What an experiment needs to have run; equal runs of several experiments are run once."""

    @abstractmethod
    def plan(self, name: str, request: Request) -> Plan:
        """Check everything that would be run, without loading weights or data.

        Args:
            name: What the plan is called.
            request: Models, data and device.

        Raises:
            UnknownNameError: A model family, dataset, method or option does not exist.
            ConfigError: A value is impossible.
        """

    @abstractmethod
    def run(self, request: Request, progress: "Progress") -> "Outcome":
        """Run what is missing in the results folder.

        Raises:
            KeyboardInterrupt: It was stopped; what is finished is stored.
            StoreError: The results cannot be read or written.
            AtmanBenchError: One of ``NOT_RUNNABLE``: it lacks its model or data.
        """

    @property
    def computed(self) -> "Run":
        """The run whose explanations it needs: itself, unless it only reads those of another."""
        return self


@dataclass(frozen=True)
class Outcome(ABC):
    """What one run gave.

    Attributes:
        manifest: What was run, and on what.
        notes: Samples that were skipped, and why explanations failed.
    """

    manifest: Mapping[str, Any]
    notes: tuple[str, ...]

    @abstractmethod
    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """Its numbers."""

    def draw(
        self, experiment: Experiment, folder: Path, formats: Sequence[FigureFormat] = (FigureFormat.PNG,)
    ) -> Mapping[str, str]:
        """Write the figures of an experiment into a folder; file name without suffix -> what it shows.

        Raises:
            DataError: The rows cannot be drawn.
            SampleError: The samples cannot.
            StoreError: The folder cannot be written.
        """
        return {}

    def verdicts(self, experiment: Experiment) -> tuple[Verdict, ...]:
        """The verdict on each claim."""
        return tuple(self.verdict(claim) for claim in experiment.claims)

    def verdict(self, claim: Claim) -> Verdict:
        """The verdict on one claim; of a kind that this run says nothing about, that it is not tested."""
        return untested(claim, "The run has no such rows.")


def untested(claim: Claim, why: str) -> Verdict:
    """The verdict on a claim that nothing was run for; one that no run decides says itself why."""
    words = claim.words
    if isinstance(claim, Beats | Cheaper):
        words = words or f"{claim.left} against {claim.right}"
    reason = claim.why if isinstance(claim, Undecided) else why
    return Verdict(words or "", Ending.UNTESTED, reason, claim.source)
