"""AtMan: suppress attention to one unit at a time and read how the target's loss changes (paper Eq. 4-7)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial

import torch
from torch import Tensor

from atman_bench.attention import similarity
from atman_bench.attention.edit import AttentionEdit, Form, RowMin
from atman_bench.attention.similarity import Similarity, suppression_factors
from atman_bench.core.errors import ConfigError, NotApplicableError
from atman_bench.core.options import ADDED_LATER
from atman_bench.core.records import Intervention
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._listed import Listed
from atman_bench.methods._objective import attribution_of
from atman_bench.methods._perturbation import EngineConfig
from atman_bench.models._base import ModelAdapter
from atman_bench.models._embedder import embed_text, embedder_identity


class Neighbours(StrEnum):
    """Which positions correlated suppression may suppress beside the unit's own."""

    ALL = "all"
    """Every position of the input, question and target tokens included, as the released code has it."""
    UNITS = "units"
    """Explained units only."""


@dataclass(frozen=True, kw_only=True)
class SuppressionConfig:
    """What is suppressed with a unit, and how.

    Attributes:
        f: Suppression factor of the paper: scores are edited with 1 - f; 0 suppresses nothing, 1 everything.
        kappa: Similarity from which on neighbours are suppressed too (Eq. 6); None suppresses single units.
        form: How scores are edited: shifted, literal (Eq. 4), log (Eq. 7) or mask.
        row_min: Columns that the shifted form takes a row's minimum over: visible, or all as the released code. Other
            forms have none, so that it is ``visible`` with them whatever is given: equal maps have one fingerprint.
        layers: Layers that are edited (0 = first); None edits all.
        similarity: cosine (of the input embeddings), softmax (Fig. 19), ref (the released code for BLIP) or external
            (A.15).
        embedder: Folder or hub id of the model that ``similarity=external`` embeds tokens with.
        neighbours: Where neighbours are looked for: all positions, or explained units.
        graded: Neighbours get 1 - f * similarity (Eq. 6); false gives them 1 - f.
        most_neighbours: At most this many positions are suppressed for their similarity to a unit, its own among them;
            None sets no limit. The released code for BLIP takes 150 of 900 patches.
    """

    f: float = 0.9
    kappa: float | None = None
    form: Form = Form.SHIFTED
    row_min: RowMin = RowMin.VISIBLE
    layers: tuple[int, ...] | None = None
    similarity: Similarity = Similarity.COSINE
    embedder: str | None = field(default=None, metadata={"identity": embedder_identity})
    neighbours: Neighbours = Neighbours.ALL
    graded: bool = True
    most_neighbours: int | None = field(default=None, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        if self.form is not Form.SHIFTED:
            object.__setattr__(self, "row_min", RowMin.VISIBLE)
        if self.kappa is not None and not -1 <= self.kappa <= 1:
            raise ConfigError(f"kappa is a cosine similarity: expected -1 to 1 or null, received {self.kappa}")
        if not 0 <= self.f <= 1:
            raise ConfigError(
                f"f is the suppressed share of a score: expected 0 to 1, received {self.f:g}, which multiplies it by "
                f"{1 - self.f:g}; to amplify parts of a prompt use 'atman-bench steer'"
            )
        if (self.embedder is None) == (self.similarity is Similarity.EXTERNAL):
            raise ConfigError(
                "similarity 'external' and an embedder belong together: "
                f"received similarity={self.similarity}, embedder={self.embedder}"
            )
        if self.similarity is Similarity.SOFTMAX and self.kappa is not None:
            raise ConfigError("similarity 'softmax' has no threshold (Fig. 19): leave kappa out")
        if self.similarity in (Similarity.EXTERNAL, Similarity.REF) and self.kappa is None:
            raise ConfigError(f"similarity '{self.similarity}' needs a threshold: set kappa (0.7 in the paper)")
        if self.most_neighbours is not None and self.most_neighbours < 1:
            raise ConfigError(f"most_neighbours must be at least 1 or null, received {self.most_neighbours}")


@dataclass(frozen=True, kw_only=True)
class AtManConfig(SuppressionConfig, EngineConfig):
    """Options of AtMan: what is suppressed, and how the engine runs it."""


def label(config: SuppressionConfig) -> str:
    """Name of a variant: its form always, then what differs from single-unit suppression of all layers at f = 0.9."""
    parts = [config.form.value]
    if config.form is Form.SHIFTED and config.row_min is not RowMin.VISIBLE:
        parts.append(f"min-{config.row_min}")
    if config.similarity is not Similarity.COSINE:
        parts.append(config.similarity.value)
    if config.kappa is not None:
        parts.append(f"kappa{config.kappa:g}")
    if config.most_neighbours is not None:
        parts.append(f"most{config.most_neighbours}")
    if config.neighbours is not Neighbours.ALL:
        parts.append(f"in-{config.neighbours}")
    if not config.graded:
        parts.append("flat")
    if config.f != 0.9:
        parts.append(f"f{config.f:g}")
    if config.layers is not None:
        parts.append("layers" + ".".join(map(str, config.layers)))
    return "-".join(parts)


TOGETHER = 64
"""Perturbations whose factors are made at a time to find where they start."""


@dataclass(frozen=True)
class Suppression:
    """P perturbations of one sequence, one per group of positions.

    Their table of factors (P x S) is as large as an attention matrix, so a batch's part of it is made when it runs.

    Attributes:
        groups: Positions of each.
        edit_of: ``groups of positions -> one perturbation per group``.
    """

    groups: Sequence[list[int]]
    edit_of: Callable[[Sequence[list[int]]], AttentionEdit]

    def select(self, perturbations: list[int]) -> AttentionEdit:
        """The edit of some of the perturbations."""
        return self.edit_of([self.groups[i] for i in perturbations])

    def first_changed(self) -> list[int]:
        """The first position that each perturbation edits, S where none is."""
        return [position for edit in self.edits() for position in edit.first_changed()]

    def distinct(self) -> tuple["Suppression", list[int]]:
        """The different perturbations, and which of them each of the P is.

        Correlated suppression is the same at all positions of one token: they are one perturbation, and score the same.
        """
        seen: dict[bytes, int] = {}
        which = [
            seen.setdefault(row.numpy().tobytes(), len(seen)) for edit in self.edits() for row in edit.factors.cpu()
        ]
        firsts = {number: group for number, group in zip(reversed(which), reversed(self.groups), strict=True)}
        return replace(self, groups=[firsts[number] for number in range(len(seen))]), which

    def edits(self) -> Iterator[AttentionEdit]:
        """The edits of all perturbations, some together."""
        for first in range(0, len(self.groups), TOGETHER):
            yield self.edit_of(self.groups[first : first + TOGETHER])


def explain(model: ModelAdapter, encoded: Encoded, config: AtManConfig, seed: int) -> Attribution:
    """One perturbation per unit; relevance = suppressed loss - plain loss (Eq. 5)."""
    return attribution_of(encoded, lambda one: listed(model, one, config).deltas(model, one, config.engine_options()))


def listed(model: ModelAdapter, encoded: Encoded, config: AtManConfig) -> Listed:
    """The different suppressions of all units."""
    return Listed(*suppressor(model, encoded, config)(encoded.positions_of_units()).distinct())


def suppressor(
    model: ModelAdapter, encoded: Encoded, config: SuppressionConfig
) -> Callable[[Sequence[list[int]]], Suppression]:
    """Prepare a sample for the suppression of any groups of positions, neighbours included (Eq. 6).

    Returns:
        ``groups of positions -> one perturbation per group``.

    Raises:
        NotApplicableError: The model has no such layer, or the sample no text that an external embedder could read.
    """
    layers = edited_layers(model, config.layers)
    similarities = _similarities(model, encoded, config)
    candidates = encoded.unit_of_position >= 0 if config.neighbours is Neighbours.UNITS else None

    def edit_of(groups: Sequence[list[int]]) -> AttentionEdit:
        factors = suppression_factors(
            groups,
            encoded.length,
            config.f,
            similarities,
            config.kappa,
            candidates,
            config.graded,
            config.most_neighbours,
            # The release suppresses a patch by what its own similarity says: one of a small norm hardly, or not at all.
            config.similarity is not Similarity.REF,
        )
        return AttentionEdit(factors, config.form, config.row_min, layers)

    return partial(Suppression, edit_of=edit_of)


def edited_layers(model: ModelAdapter, layers: Sequence[int] | None) -> frozenset[int] | None:
    """The option ``layers`` as an edit takes it.

    Raises:
        NotApplicableError: The model has no such layer.
    """
    outside = sorted(n for n in layers or () if not 0 <= n < model.host.n_layers)
    if outside:
        raise NotApplicableError(f"layer {outside[0]} does not exist: expected 0 to {model.host.n_layers - 1}")
    return None if layers is None else frozenset(layers)


@torch.inference_mode()
def _similarities(model: ModelAdapter, encoded: Encoded, config: SuppressionConfig) -> Tensor | None:
    match config.similarity:
        case Similarity.COSINE:
            if config.kappa is None:
                return None
            return similarity.cosine(model.embeddings(encoded)[0]).cpu()
        case Similarity.SOFTMAX:
            return similarity.softmax(model.embeddings(encoded)[0]).cpu()
        case Similarity.REF:
            explained = encoded.unit_of_position.to(model.device) >= 0
            return similarity.over_largest_norm(model.embeddings(encoded)[0], explained).cpu()
        case Similarity.EXTERNAL:
            if encoded.text is None or encoded.offsets is None or config.embedder is None or encoded.pictures:
                raise NotApplicableError(
                    "similarity 'external' aligns tokens by characters: give a text prompt, not token ids, "
                    "and no picture"
                )
            return similarity.cosine(embed_text(config.embedder, encoded.text, encoded.offsets, encoded.length))


_BLIP = {"form": "literal", "kappa": 0.1, "f": 0.95, "neighbours": "units", "most_neighbours": 150}
"""The released code for BLIP: no shift, f = 0.95, a low threshold, and at most 150 of the patches.

Two things of it cannot be repeated: it perturbed 12 x 12 tokens of MAGMA instead of BLIP's 30 x 30 patches, with
similarities of MAGMA's embeddings that were resized to the patches; and it left the patch with the number of the token
alone, which was meant to be the token's own and lies somewhere else."""

_FORMS = {form.value: {"form": form.value} for form in Form}
SPEC = MethodSpec(
    summary="AtMan: suppressed attention scores, one unit (and its neighbours) at a time",
    version=1,
    config=AtManConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1 + n_units,
    label=label,
    variants={
        **_FORMS,
        **{f"{name}-kappa0.7": {**options, "kappa": 0.7} for name, options in _FORMS.items()},
        "blip": _BLIP,
        "blip-ref": {**_BLIP, "similarity": "ref"},
        # The released code for decoders, and the same for single units.
        "paper": {"form": "shifted", "row_min": "all", "kappa": 0.7},
        "paper-single": {"form": "shifted", "row_min": "all"},
        # The same maps with the memory of a plain forward pass.
        "lean": {"engine": "lean"},
    },
    image_variants=("shifted-kappa0.7",),
    contrast=Contrast.SPAN,
    perturbs=lambda options: Intervention.ATTENTION,
    listed=listed,
)
