"""What a method file defines."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from atman_bench.core.records import Intervention, Modality
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._listed import Listed
from atman_bench.models._base import ModelAdapter


@dataclass(frozen=True)
class NoOptions:
    """The config of a method without options."""


def changed_options(config: Any, ignored: Collection[str] = ()) -> str:
    """Name a variant by the options that differ from their defaults (``n_steps=20``), or ``default``."""
    changed = [
        f"{f.name}={getattr(config, f.name)}"
        for f in fields(config)
        if f.name not in ignored and f.metadata.get("identity", True) and getattr(config, f.name) != f.default
    ]
    return ",".join(changed) or "default"


class Contrast(Enum):
    """What a method can explain a target against."""

    NONE = "none"
    """Nothing: its scores are of no loss, logit or log-probability."""
    TOKEN = "token"
    """One token against another, which the same pass predicts at the same place."""
    SPAN = "span"
    """Any foil: what it makes of two sequences can be subtracted, or it sees no model."""


@dataclass(frozen=True)
class MethodSpec:
    """An explanation method.

    Attributes:
        summary: One line for ``atman-bench list methods``.
        version: Raised whenever the method's numbers change; part of the fingerprint of stored maps.
        config: Frozen dataclass of the method's options; its field documentation is shown by ``list``.
        explain: ``(adapter, encoded, config, seed) -> Attribution``; the seed is used by stochastic methods only.
        variants: Named option sets; ``METHOD:VARIANT`` selects one (``atman:literal``).
        label: ``config -> name of the variant`` in rows and tables, derived from the options so that it is never wrong.
        stochastic: Whether the seed changes the result.
        modalities: What the method is defined for.
        image_variants: Variants that a run on images evaluates beside the default.
        default: Whether a run that names no methods evaluates it. Tables of such runs are published, and a new method
            would change them.
        contrast: Which foils it can explain a target against.
        perturbs: ``options of a map's identity -> how the method takes units away``; None for one that runs no changed
            input. Measures of faithfulness favour methods that perturb as they do, and tables say by how much.
        listed: ``(adapter, encoded, config) -> all perturbations of a sample``, where they are known before one of them
            runs, their losses make the map, and the config is an ``EngineConfig``: workers can share them. None where
            one follows from another, or there are none.
        forwards: ``(U, T, config) -> full-length forward passes that it costs``, an upper bound for ``--dry-run``.
    """

    summary: str
    version: int
    config: type[Any]
    explain: Callable[[ModelAdapter, Encoded, Any, int], Attribution]
    forwards: Callable[[int, int, Any], float]
    label: Callable[[Any], str] = lambda config: changed_options(config)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stochastic: bool = False
    modalities: frozenset[Modality] = frozenset(Modality)
    image_variants: tuple[str, ...] = ()
    default: bool = True
    contrast: Contrast = Contrast.NONE
    perturbs: Callable[[Mapping[str, Any]], Intervention | None] = lambda options: None
    listed: Callable[[ModelAdapter, Encoded, Any], Listed] | None = None


@dataclass(frozen=True)
class FloorSpec(MethodSpec):
    """A baseline that sees neither model nor target: a method has to score higher. Tables show it below the methods.

    It takes no forward pass, and stands beside explanations of why a target rather than its foil, too.
    """

    forwards: Callable[[int, int, Any], float] = lambda n_units, n_targets, config: 0
    contrast: Contrast = Contrast.SPAN
