"""Records that travel through an evaluation and carry no tensors; ``tensors.py`` has those that do.

U explained units, T target tokens, S input positions (see ``docs/architecture.md`` for all terms).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

SCHEMA = 2
"""Version of every stored file that is written."""

READABLE = frozenset({1, SCHEMA})
"""Versions that are read: the first had a line for each metric of a sample, and no headers."""


@dataclass(frozen=True)
class CharSpans:
    """Ground truth in a text: half-open character ranges ``[start, end)`` of the prompt."""

    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Picture:
    """An image on disk, decoded when it is needed (``images.py``).

    Attributes:
        path: Any file that Pillow reads.
        crop: (left, top, right, bottom) in pixels of the file, right and bottom exclusive; None is the whole image.
    """

    path: Path
    crop: tuple[int, int, int, int] | None = None


class Completion(str):
    """What a model said, as text, with the tokens that it said it with: those are explained, not the text's own.

    A text that is cut or joined is a plain ``str`` again, without tokens.

    Attributes:
        ids: Token ids; a character that generation cut has no text that would give them back.
    """

    ids: tuple[int, ...]

    def __new__(cls, text: str, ids: Sequence[int]) -> "Completion":
        """Attach the tokens to the text."""
        completion = super().__new__(cls, text)
        completion.ids = tuple(ids)
        return completion


class ChatPrompt(str):
    """A prompt that a chat template wrote: its start token and its marks of roles are in the text already.

    A text that is cut or joined is a plain ``str`` again.

    Attributes:
        contents: Half-open character range of what each message says, without the template's own words.
    """

    contents: tuple[tuple[int, int], ...]

    def __new__(cls, text: str, contents: Sequence[tuple[int, int]]) -> "ChatPrompt":
        """Attach the ranges to the text."""
        prompt = super().__new__(cls, text)
        prompt.contents = tuple(contents)
        return prompt


@dataclass(frozen=True)
class RegionMask:
    """Ground truth in an image: the union of masks. Each is stretched to its image (nearest) before the crop.

    Attributes:
        files: Mask images.
        value: Mask pixels of this value are evidence; None means every pixel that is not 0.
        threshold: A unit is evidence if at least this share of its area is; None keeps the share as a soft label.
    """

    files: tuple[Path, ...]
    value: int | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Boxes:
    """Ground truth in an image: the union of boxes.

    Attributes:
        boxes: (left, top, right, bottom) of each in pixels of the file, not of its crop; fractions are allowed.
        threshold: As in ``RegionMask``.
    """

    boxes: tuple[tuple[float, float, float, float], ...]
    threshold: float | None = None


@dataclass(frozen=True)
class Segments:
    """Ground truth in an image: the union of polygons and of run-length encoded masks, as COCO writes them.

    Attributes:
        size: Width and height of the image that they lie on, in pixels of the file.
        polygons: x, y, x, y, ... of each polygon's corners, in pixels from the top left.
        runs: Lengths of runs of pixels, column by column, outside and inside in turn, for each mask.
        threshold: As in ``RegionMask``.
    """

    size: tuple[int, int]
    polygons: tuple[tuple[float, ...], ...] = ()
    runs: tuple[tuple[int, ...], ...] = ()
    threshold: float | None = None


Label = CharSpans | RegionMask | Boxes | Segments
"""Ground truth of a sample: character spans, masks, boxes or outlines."""


@dataclass(frozen=True)
class Word:
    """A word whose own loss is explained (GQA, A.12), with its own ground truth.

    Attributes:
        span: Half-open character range in prompt + target.
        label: Its ground truth.
        own_row: Explain what each of its tokens predicts (the loss of the token that follows it) instead of the tokens
            themselves, which the rows before theirs predict.
    """

    span: tuple[int, int]
    label: Label
    own_row: bool = False


@dataclass(frozen=True)
class Sample:
    """One prompt and target, with the ground truth that explanations are scored against.

    Attributes:
        uid: Unique within its dataset, stable between runs.
        prompt: The text before the target; an image comes before it.
        target: The text whose tokens are explained, with its leading space (``" Paris"``).
        explain: Half-open character range of the prompt that is explained (SQuAD: the context), or None where the
            image is.
        label: The ground truth, in characters of the prompt or in the image.
        group: What bootstrap intervals resample (SQuAD: the paragraph; images: the image).
        facts: Further facts for tables and figures, such as the article or the number of questions of the paragraph.
        picture: What the model sees, if anything.
        words: Words that are explained instead of the target, each scored against its own label; none explains the
            target.
        foil: What the target is explained against (why ``" himself"`` rather than ``" herself"``), with its leading
            space; None explains the target alone.
    """

    uid: str
    prompt: str
    target: str
    explain: tuple[int, int] | None
    label: Label
    group: str
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    picture: Picture | None = None
    words: tuple[Word, ...] = ()
    foil: str | None = None


@dataclass(frozen=True)
class Skipped:
    """A sample that a dataset or an adapter could not use, and why: counted in every table, never just dropped."""

    uid: str
    reason: str


@dataclass(frozen=True)
class TextUnits:
    """The U explained units of a text.

    Attributes:
        texts: What each unit reads, for display.
        spans: Half-open character range of each unit in the prompt, or None for a prompt that was given as token ids.
    """

    texts: tuple[str, ...]
    spans: tuple[tuple[int, int], ...] | None = None

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class PatchUnits:
    """The U explained units of one image: a regular grid, row by row from the top left.

    Attributes:
        grid: Rows and columns.
        area: (left, top, right, bottom) of what the grid covers, in pixels of the image after its crop: a model that
            crops to a square sees only this.
        size: Width and height of the image after its crop, in pixels.
        picture: Which of several images it is.
    """

    grid: tuple[int, int]
    area: tuple[float, float, float, float]
    size: tuple[int, int]
    picture: int = 0

    def __len__(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def texts(self) -> tuple[str, ...]:
        """Row and column of each patch, for display."""
        rows, columns = self.grid
        return tuple(f"({row}, {column})" for row in range(rows) for column in range(columns))


@dataclass(frozen=True)
class JointUnits:
    """Units of several kinds, one block after the other: tiles, several images, image and text (Fig. 17a)."""

    blocks: tuple[TextUnits | PatchUnits, ...]

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def texts(self) -> tuple[str, ...]:
        """What each unit reads, for display."""
        return tuple(text for block in self.blocks for text in block.texts)


Units = TextUnits | PatchUnits | JointUnits
"""What is explained."""


@dataclass(frozen=True)
class Cost:
    """What one explanation took.

    Attributes:
        seconds: Wall time of the explanation alone, synchronised with the device.
        forward_tokens: Token positions that went through the model's layers, over all forward passes.
        peak_bytes: Peak device memory above what was allocated before; None where it cannot be measured.
    """

    seconds: float
    forward_tokens: int
    peak_bytes: int | None = None


class Dtype(StrEnum):
    """Type of a model's weights and activations; losses are always computed in float32."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class Quantization(StrEnum):
    """How a decoder's linear layers hold their weights; activations keep the model's ``Dtype``."""

    INT8 = "int8"
    """Eight-bit integers, with one scale for each output feature (symmetric, round to nearest)."""


def type_name(dtype: str, quantization: Quantization | None) -> str:
    """What stored results call a model's type: ``float32``, ``float32-int8``. ``dtype_in`` is its inverse."""
    return dtype if quantization is None else f"{dtype}-{quantization}"


def dtype_in(name: str) -> Dtype:
    """The type of activations in a ``type_name``."""
    return Dtype(name.partition("-")[0])


class UnitKind(StrEnum):
    """What of a text is explained as one unit."""

    TOKEN = "token"
    """Each token of the model."""
    WORD = "word"
    """What stands between white space, with its punctuation."""
    SENTENCE = "sentence"
    """Text up to a full stop, a question mark or an exclamation mark before white space, or to a line break."""
    CHUNK = "chunk"
    """Text between the paper's delimiters (A.8)."""
    EXAMPLE = "example"
    """Text between blank lines: the examples of a few-shot prompt."""


class Modality(StrEnum):
    """What a dataset's samples explain; methods and models are chosen by it where a run names none."""

    TEXT = "text"
    IMAGE = "image"


class Intervention(StrEnum):
    """How units are taken away. Metrics of one kind favour methods that perturb alike: numbers name theirs."""

    ATTENTION = "attention"
    """Their attention scores are suppressed in all layers: AtMan's edit. They stay in the text."""
    EMBEDDING = "embedding"
    """Their input embeddings are replaced by a baseline: what occlusion does."""


class Explained(StrEnum):
    """Which part of a sample with an image is explained."""

    IMAGE = "image"
    TEXT = "text"
    BOTH = "both"


class Status(StrEnum):
    """How a sample ended."""

    OK = "ok"
    OOM = "oom"
    ERROR = "error"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Row:
    """One explained sample under one sign rule, with its metrics: a flat line of ``rows-*.jsonl``.

    What all rows of a cell have in common (dataset, model, method) is said once, by the cell.

    Attributes:
        uid: The sample's.
        sign: How signed scores became a map (``positive``).
        status: How the sample ended.
        values: Name of a metric -> its value, in [0, 1] for all that are shares; None where it is undefined or the
            sample did not end ok. Metrics that were not computed are absent.
        group: What bootstrap intervals resample.
        n_questions: How many questions the sample's paragraph has, where the dataset says (Fig. 8b).
        n_units: U, the number of explained units; 0 where no method saw the sample.
        n_positive: How many units the label covers, shares of units added up.
        target_logprob: Sum of the target tokens' log-probabilities (natural logarithm).
        answered: Whether greedy decoding gives the target.
        seconds: Wall time of the explanation.
        forward_tokens: Token positions that went through the layers.
        peak_bytes: Peak device memory of the explanation above what was allocated before.
        error: Why the status is not ok.
    """

    uid: str
    sign: str
    status: Status
    values: Mapping[str, float | None]
    group: str = ""
    n_questions: int | None = None
    n_units: int = 0
    n_positive: float = 0
    target_logprob: float | None = None
    answered: bool | None = None
    seconds: float | None = None
    forward_tokens: int | None = None
    peak_bytes: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class ScoredCell:
    """The rows of one method with its options on one dataset by one model, and what tables call them.

    Attributes:
        fingerprint: Names everything that can change the maps (see ``evaluation/store.py``).
        dataset: Name of the dataset, with options that change the evaluation setting (``openimages (cropped)``).
        model: Name of the model.
        method: Name of the method.
        variant: Name of its options.
        rows: One per sample.
    """

    fingerprint: str
    dataset: str
    model: str
    method: str
    variant: str
    rows: tuple[Row, ...]
