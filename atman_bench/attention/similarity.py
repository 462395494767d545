"""Similarity of positions: the neighbours that correlated suppression suppresses too (paper Eq. 6, Fig. 19)."""

from collections.abc import Sequence
from enum import StrEnum

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Similarity(StrEnum):
    """How the similarity of two positions is computed."""

    COSINE = "cosine"
    """Cosine of the model's input embeddings, clipped to [-1, 1]; neighbours are those at or above kappa (Eq. 6)."""
    SOFTMAX = "softmax"
    """Row-softmax of e.e/sqrt(d), divided by the row's maximum; no threshold (Fig. 19)."""
    REF = "ref"
    """e.e over the square of the largest norm of explained positions, not below 0, threshold kappa: the released
    code for BLIP, there of MAGMA's image tokens. A position of a small norm is similar to nothing, itself included."""
    EXTERNAL = "external"
    """Cosine of another model's token embeddings (A.15), aligned by characters; threshold kappa."""


def cosine(embeddings: Float[Tensor, "S D"]) -> Float[Tensor, "S S"]:
    """Cosine similarity, clipped to [-1, 1]; a zero vector (a position without embedding) is similar to nothing.

    Positions of one token have similarity 1 and the same row, to the last bit.
    """
    distinct, which = embeddings.float().unique(dim=0, return_inverse=True)
    unit = torch.nn.functional.normalize(distinct, dim=-1)
    similarity = (unit @ unit.T).clamp(-1, 1)
    similarity.diagonal().ceil_()  # 1 but for rounding, 0 of a zero vector
    return similarity[which][:, which]


def softmax(embeddings: Float[Tensor, "S D"]) -> Float[Tensor, "S S"]:
    """Row-softmax of scaled dot products, each row divided by its maximum (Fig. 19; the scale is our reading).

    Positions of one token have the same row, to the last bit.
    """
    distinct, which = embeddings.float().unique(dim=0, return_inverse=True)
    weights = (distinct @ distinct.T / distinct.shape[1] ** 0.5)[:, which].softmax(-1)
    return (weights / weights.amax(-1, keepdim=True))[which]


def over_largest_norm(embeddings: Float[Tensor, "S D"], explained: Bool[Tensor, " S"]) -> Float[Tensor, "S S"]:
    """Dot products over the square of the largest norm of the explained positions, clipped to [0, 1]."""
    scaled = embeddings.float() / embeddings[explained].float().norm(dim=-1).max().clamp(min=1e-12)
    return (scaled @ scaled.T).clamp(0, 1)


def suppression_factors(
    units: Sequence[list[int]],
    length: int,
    f: float,
    similarity: Float[Tensor, "S S"] | None = None,
    kappa: float | None = None,
    candidates: Bool[Tensor, " S"] | None = None,
    graded: bool = True,
    most: int | None = None,
    own: bool = True,
) -> Float[Tensor, "U S"]:
    """Factors of one perturbation per unit: 1 - f at its own positions, and at those of its neighbours (Eq. 6).

    Args:
        units: Positions of each unit.
        length: S, the number of positions.
        f: Suppression factor of the paper.
        similarity: Similarity of positions; None suppresses the unit alone.
        kappa: Neighbours are positions at least this similar to one of the unit's; None takes every position.
        candidates: Positions that may be neighbours; None allows all.
        graded: A neighbour's factor is 1 - f * similarity (Eq. 6), or 1 - f as well.
        most: At most this many positions of each perturbation are suppressed for their similarity, the unit's own among
            them: the most similar ones, and of equally similar ones the first.
        own: A unit's own positions get 1 - f; false takes them for neighbours like any other.
    """
    factors = torch.ones(len(units), length)
    if similarity is not None and units:
        nothing = torch.full((length,), -torch.inf)
        nearest = torch.stack([similarity[positions].amax(0).cpu() if positions else nothing for positions in units])
        is_neighbour = nearest > -torch.inf if kappa is None else nearest >= kappa
        if candidates is not None:
            is_neighbour &= candidates.cpu()
        if most is not None:
            ranked = nearest.masked_fill(~is_neighbour, -torch.inf).argsort(dim=1, descending=True, stable=True)
            is_neighbour &= torch.zeros_like(is_neighbour).scatter(1, ranked[:, :most], True)
        # In float64, so that a neighbour of similarity 1 gets the unit's own factor to the last bit.
        strength = nearest.double() if graded else torch.ones(length, dtype=torch.float64)
        factors = torch.where(is_neighbour, (1 - f * strength).float(), factors)
    if own:
        owners = [unit for unit, positions in enumerate(units) for _ in positions]
        factors[owners, [position for positions in units for position in positions]] = 1 - f
    return factors
