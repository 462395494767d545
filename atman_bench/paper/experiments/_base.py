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


class Region(StrEnum):
    """A part of the grid of patches where relevance may gather."""

    LAST_TWO = "last two patches"
    FIRST_TWO = "first two patches"
    FIRST_ROW = "first row"
    EDGE = "outermost patches"


SMALLEST = 1.0
"""The smallest difference that matters, in points of a metric (x 100), unless a claim states its own."""


@dataclass(frozen=True)
class Beats:
    """A claim that one map is better than another on the same samples, in the direction that the paper gives it.

    Attributes:
        left: What should be better: a method (its first variant in the run), ``METHOD:VARIANT``, or the point of a
            sweep as tables name it (``kappa=0.7, f=0.9``). In a comparison ``SIDE/METHOD``.
        right: What it is compared with.
        metric: Name of the paper's metric, higher = better. The ranking (AUPRC) is tested beside it.
        words: The claim, where "left beats right" does not say it.
        source: Where the paper says it; empty for a sanity check.
        smallest: The smallest difference that matters, in points (x 100).
    """

    left: str
    right: str
    metric: str = "average_precision"
    words: str | None = None
    source: str = ""
    smallest: float = SMALLEST


@dataclass(frozen=True)
class Cheaper:
    """A claim of the paper: one method costs less than another, at each model size and sequence length.

    Attributes:
        left: What should cost less, as tables of costs name it (``atman, batch 1``).
        right: What it is compared with.
        number: ``time`` or ``peak``.
        words: The claim, where "left costs less" does not say it.
        source: Where the paper says it; empty for a sanity check.
    """

    left: str
    right: str
    number: str
    words: str | None = None
    source: str = ""


@dataclass(frozen=True)
class Gathers:
    """A claim that maps of one method put more of their relevance into a region of the picture than those of another.

    Attributes:
        left: What should: a method, as in ``Beats``.
        right: What it is compared with; None is a map that is the same everywhere.
        region: Where.
        words: The claim.
        source: Where the paper says it.
        smallest: The smallest difference that matters, in points (per cent of the relevance).
    """

    left: str
    right: str | None
    region: Region
    words: str
    source: str
    smallest: float = SMALLEST


@dataclass(frozen=True)
class Passes:
    """A claim about how many forward passes a method takes for one map.

    Attributes:
        method: As in ``Beats``.
        fewest: So many, or more.
        words: The claim.
        source: Where the paper says it.
    """

    method: str
    fewest: int
    words: str
    source: str


@dataclass(frozen=True)
class Undecided:
    """A claim of the paper that no run of the suite decides.

    Attributes:
        words: The claim.
        source: Where the paper says it.
        why: What would be needed, or what the suite gives instead.
    """

    words: str
    source: str
    why: str


Claim = Beats | Cheaper | Gathers | Passes | Undecided

PRECISION, RECALL = "average_precision", "average_recall"
"""The paper's metrics (A.11)."""


def beats(left: str, *rights: str, metric: str = PRECISION, source: str = "") -> tuple[Beats, ...]:
    """The claims that one method has a higher mAP, or another metric, than each of several."""
    return tuple(Beats(left, right, metric, source=source) for right in rights)


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
        reported: The paper's numbers for the methods, which its section gives in words.
        readings: Numbers of the paper that are in no such table, in words.
        unknown: What the paper does not say of how it was run, and what the preset paper takes: ``split: validation``.
        claims: What the paper says of it, and sanity checks.
    """

    title: str
    paper: str
    runs: "Mapping[Preset, Run]"
    left_out: Mapping[Preset, str] = field(default_factory=dict)
    figures: tuple[str, ...] = ()
    maps: Maps | None = None
    reported: Reported | None = None
    readings: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
