"""What an experiment file defines: what to run at each preset, what to draw, and what the paper claims.

What is run at a preset is a ``Run``, of a kind in ``paper/kinds``; ``reproduce.py`` runs it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from atman_bench.report._paper_scores import Reported

if TYPE_CHECKING:
    from atman_bench.paper.kinds._base import Run


class Preset(StrEnum):
    """How much of the paper is run."""

    TINY = "tiny"
    """Embedded models and generated data: offline, minutes."""
    SMALL = "small"
    """Real models and data that fit a CPU."""
    PAPER = "paper"
    """The paper's models and data, on an 80 GB GPU."""


@dataclass(frozen=True)
class Beats:
    """A claim of the paper: one map points better at the evidence than another, on the same samples.

    Attributes:
        left: What should be better: a method (its first variant in the run), ``METHOD:VARIANT``, or the point of a
            sweep as tables name it (``kappa=0.7, f=0.9``). In a comparison ``SIDE/METHOD``.
        right: What it is compared with.
        metric: Name of a metric, higher = better.
        words: The claim, where "left beats right" does not say it.
    """

    left: str
    right: str
    metric: str = "average_precision"
    words: str | None = None


@dataclass(frozen=True)
class Cheaper:
    """A claim of the paper: one method costs less than another, at each model size and sequence length.

    Attributes:
        left: What should cost less, as tables of costs name it (``atman, batch 1``).
        right: What it is compared with.
        number: ``time`` or ``peak``.
        words: The claim, where "left costs less" does not say it.
    """

    left: str
    right: str
    number: str
    words: str | None = None


Claim = Beats | Cheaper


def beats(left: str, *rights: str) -> tuple[Beats, ...]:
    """The claims that one method has a higher mAP than each of several."""
    return tuple(Beats(left, right) for right in rights)


@dataclass(frozen=True)
class Maps:
    """Which stored maps are laid over their images.

    Attributes:
        methods: The columns: ``METHOD`` or ``METHOD:VARIANT``, as in ``Beats``; none takes all but floors. A grid shows
            all its points.
        n: How many samples: the rows.
        one_picture: Take the targets of one image instead of the first samples.
    """

    methods: tuple[str, ...] = ()
    n: int = 4
    one_picture: bool = False


@dataclass(frozen=True)
class Experiment:
    """A table or figure of the paper.

    Attributes:
        title: What it shows.
        paper: Where it is in the paper, and which model and data it is of.
        runs: What is run at each preset.
        left_out: Preset -> why nothing is run there; every preset is in one of the two.
        figures: Names of the figures that are drawn from the rows.
        maps: Maps that are drawn too.
        reported: The paper's numbers for the table of methods.
        readings: Numbers of the paper that are in no such table, in words.
        claims: What the paper says that the rows can be asked about.
    """

    title: str
    paper: str
    runs: "Mapping[Preset, Run]"
    left_out: Mapping[Preset, str] = field(default_factory=dict)
    figures: tuple[str, ...] = ()
    maps: Maps | None = None
    reported: Reported | None = None
    readings: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
