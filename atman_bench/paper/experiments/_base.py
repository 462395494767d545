"""What an experiment file defines: what to run at each preset, what to draw, and what the paper claims.

Nothing here runs anything: ``reproduce.py`` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from atman_bench.core.records import Explained
from atman_bench.report._paper_scores import Reported


class Preset(StrEnum):
    """How much of the paper is run."""

    TINY = "tiny"
    """Embedded models and generated data: offline, minutes."""
    SMALL = "small"
    """Real models and data that fit a CPU."""
    PAPER = "paper"
    """The paper's models and data, on an 80 GB GPU."""


@dataclass(frozen=True)
class Evaluation:
    """Rows of ``atman-bench eval``.

    Attributes:
        options: Fields of ``RunConfig``, as its YAML has them.
        config: Name of a preset in ``configs/`` that they are put on top of.
        parameters: Of the model, for predictions of what cannot be run here.
        samples: How many samples that data have where there is no limit, likewise.
        units: Explained units of a typical sample, likewise; targets have 3 tokens and prompts 16 more.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    config: str | None = None
    parameters: float | None = None
    samples: int | None = None
    units: int = 144


@dataclass(frozen=True)
class Grid:
    """Rows of ``atman-bench sweep``.

    Attributes:
        options: Fields of ``RunConfig``.
        config: Name of a preset in ``configs/``.
        axes: Further axes, or the preset's in other values, as ``--grid`` has them: path -> values.
        parameters: See ``Evaluation``.
        units: See ``Evaluation``.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    config: str | None = None
    axes: Mapping[str, Any] = field(default_factory=dict)
    parameters: float | None = None
    units: int = 144


@dataclass(frozen=True)
class Costs:
    """Rows of ``atman-bench scale``.

    Attributes:
        options: Fields of ``ScaleConfig``.
        config: Name of a preset in ``configs/scale``.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    config: str | None = None


@dataclass(frozen=True)
class Sentence:
    """The loss of one target when each token of a sentence is suppressed (Fig. 2a).

    Attributes:
        model: As users write it.
        prompt: The sentence, with whatever asks for the target.
        target: What follows it.
        evidence: The word or words whose suppression should raise the loss most.
    """

    model: str
    prompt: str
    target: str
    evidence: str


@dataclass(frozen=True)
class Steering:
    """``atman-bench steer``: continuations with a word amplified or suppressed (Fig. 2b).

    Attributes:
        model: As users write it.
        prompt: What is continued.
        words: Each is amplified and suppressed in turn.
        factors: Of the attention scores.
    """

    model: str
    prompt: str
    words: tuple[str, ...]
    factors: tuple[float, ...]


@dataclass(frozen=True)
class Documents:
    """``atman-bench docqa``: questions to one document (Fig. 16).

    Attributes:
        model: As users write it.
        example: Name of an example document.
    """

    model: str
    example: str


@dataclass(frozen=True)
class Chunks:
    """Rows of ``atman-bench eval`` whose token maps are scored chunk by chunk (A.8), without computing them again.

    Attributes:
        tokens: What is run; its dataset is of texts.
    """

    tokens: Evaluation


@dataclass(frozen=True)
class Comparison:
    """Several evaluations that differ in more than their method: models, or prompts.

    Attributes:
        sides: Name of each in tables and claims -> what is run.
    """

    sides: Mapping[str, Evaluation]


@dataclass(frozen=True)
class Accuracy:
    """Answers of ``atman-bench accuracy`` (Table 4).

    Attributes:
        quizzes: Fields of ``RunConfig`` of each; what cannot be run is said, and the others go on.
        shots: Solved examples before the questions of each quiz.
        parameters: See ``Evaluation``.
    """

    quizzes: tuple[Mapping[str, Any], ...]
    shots: tuple[int, ...] = (0,)
    parameters: float | None = None


@dataclass(frozen=True)
class Example:
    """What is explained of one sample.

    Attributes:
        uid: The sample, which gives the picture and the evidence.
        prompt: Instead of the sample's: a word of a question is explained as the target of what stands before it.
        target: Instead of the sample's.
        generated: The model's own words are the target.
        explained: Of a sample with a picture: patches, tokens, or both together.
        phrases: Parts of the target that get a map each in Fig. 1a, as far as a generation has them.
    """

    uid: str
    prompt: str | None = None
    target: str | None = None
    generated: bool = False
    explained: Explained = Explained.BOTH
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Examples:
    """Maps of single samples (Figs 1a, 3 and 17).

    Attributes:
        options: Fields of ``RunConfig``: model, dataset and the methods to compare.
        examples: What is explained.
    """

    options: Mapping[str, Any]
    examples: tuple[Example, ...]


Run = Evaluation | Grid | Costs | Sentence | Steering | Documents | Chunks | Comparison | Accuracy | Examples
"""What an experiment needs to have run; equal ones of several experiments are run once."""


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
    """Which stored maps are laid over their pictures.

    Attributes:
        methods: The columns: ``METHOD`` or ``METHOD:VARIANT``, as in ``Beats``; none takes all but floors. A grid shows
            all its points.
        n: How many samples: the rows.
        one_picture: Take the targets of one picture instead of the first samples.
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
    runs: Mapping[Preset, Run]
    left_out: Mapping[Preset, str] = field(default_factory=dict)
    figures: tuple[str, ...] = ()
    maps: Maps | None = None
    reported: Reported | None = None
    readings: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
