"""One explanation as a heat map over text, an image or both; ``heatmap_terminal``, ``_page`` and ``_png`` draw it.

White is no relevance, red supports the target, blue opposes it. All maps of one explanation share a linear scale: full
colour is their largest positive score, or their largest magnitude where no score is positive; stronger negative scores
are clipped. What rounding of the losses can make is white.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypedDict

import numpy as np
from jaxtyping import Float, UInt8

from atman_bench.core.errors import ConfigError
from atman_bench.core.records import PatchUnits
from atman_bench.core.texts import printable, words_of
from atman_bench.report._overlay import BLUE, RED, overlay, shrink, spread
from atman_bench.report._scales import shared_scale, without_noise

_PICTURE_PIXELS = 480


@dataclass(frozen=True)
class Piece:
    """A stretch of the prompt: one unit, or (with unit None) text between units that is not explained."""

    text: str
    unit: int | None


@dataclass(frozen=True)
class Grid:
    """Units that are patches of the picture.

    Attributes:
        first: Index of the first of them; the others follow, row by row.
        units: Where they are.
    """

    first: int
    units: PatchUnits

    @property
    def members(self) -> slice:
        """Which units they are."""
        return slice(self.first, self.first + len(self.units))


@dataclass(frozen=True)
class Phrase:
    """A part of the target.

    Attributes:
        text: What it reads.
        tokens: Its target tokens, as a half-open range.
    """

    text: str
    tokens: tuple[int, int]


@dataclass(frozen=True)
class HeatMap:
    """What is drawn.

    Attributes:
        caption: Model, method and variant, in words.
        texts: What each of the U units reads.
        scores: Relevance of each unit, averaged over the target tokens.
        target_texts: What each of the T target tokens reads.
        per_target: Relevance for each target token, or None where only the mean is explained.
        prompt: The whole prompt, or None where it was given as token ids.
        spans: Half-open character range of each unit in the prompt, ascending, None for a patch; None exactly if
            ``prompt`` is.
        grids: Which units are patches; where they overlap, relevance adds up.
        picture: What the patches lie on.
        phrases: Parts of the target that get a map of their own, the mean over their tokens (Fig. 1a); none where
            ``per_target`` is None.
        noise: The largest score that rounding can make: it is drawn as nothing.
        remarks: What a reader of this one map has to know, a sentence each.
        evidence: The share of each unit that is evidence, where that is known: it is outlined.
    """

    caption: str
    texts: tuple[str, ...]
    scores: Float[np.ndarray, " U"]
    target_texts: tuple[str, ...]
    per_target: Float[np.ndarray, "T U"] | None = None
    prompt: str | None = None
    spans: tuple[tuple[int, int] | None, ...] | None = None
    grids: tuple[Grid, ...] = ()
    picture: UInt8[np.ndarray, "H W 3"] | None = None
    phrases: tuple[Phrase, ...] = ()
    noise: float = 0.0
    remarks: tuple[str, ...] = ()
    evidence: Float[np.ndarray, " U"] | None = None

    @cached_property
    def full(self) -> float:
        """The score that gets full colour in every map."""
        return shared_scale(self.drawn(scores) for _, scores in self.blocks())

    def drawn(self, scores: Float[np.ndarray, " U"]) -> Float[np.ndarray, " U"]:
        """What of a map is drawn: all but noise."""
        return without_noise(scores, self.noise)

    def by_words(self) -> "HeatMap":
        """The same map over words: the score of a word is the sum of its tokens' scores; patches stay as they are."""
        if self.prompt is None or self.spans is None:
            return self
        groups = words_of(self.prompt, self.spans)
        spans = tuple(joined_span([self.spans[unit] for unit in group]) for group in groups)
        return replace(
            self,
            texts=tuple(
                self.texts[group[0]] if span is None else self.prompt[slice(*span)] or self.texts[group[0]]
                for group, span in zip(groups, spans, strict=True)
            ),
            scores=summed(self.scores[None], groups)[0],
            per_target=None if self.per_target is None else summed(self.per_target, groups),
            spans=spans,
            noise=self.noise * max(map(len, groups)),
            evidence=None if self.evidence is None else largest(self.evidence, groups),
            grids=tuple(
                replace(grid, first=next(i for i, group in enumerate(groups) if grid.first in group))
                for grid in self.grids
            ),
        )

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The prompt from its first to its last character, cut at the units' borders; patches are no part of it."""
        if self.prompt is None or self.spans is None:
            patches = {unit for grid in self.grids for unit in range(len(self.texts))[grid.members]}
            return tuple(Piece(text, unit) for unit, text in enumerate(self.texts) if unit not in patches)
        pieces: list[Piece] = []
        done = 0
        for unit, span in enumerate(self.spans):
            if span is None:
                continue
            start, end = span
            if start > done:
                pieces.append(Piece(self.prompt[done:start], None))
            # A special token is in no character of the prompt, and byte-level tokens can share one: the first of them
            # shows it, the others are shown as a dot coloured by their score.
            pieces.append(Piece(self.texts[unit] if start == end else self.prompt[max(start, done) : end] or "·", unit))
            done = max(done, end)
        if done < len(self.prompt):
            pieces.append(Piece(self.prompt[done:], None))
        return tuple(pieces)

    def pictures(self, scores: Float[np.ndarray, " U"], full: float) -> tuple[UInt8[np.ndarray, "h w 3"], ...]:
        """The picture, and the picture under a map, at most 480 pixels wide and high; nothing without a picture.

        Args:
            scores: The map.
            full: The score that gets full colour.
        """
        if self.picture is None or not self.grids:
            return ()
        pixels = shrink(self.picture, _PICTURE_PIXELS)
        spreads = np.stack([spread(grid.units, scores[grid.members], pixels.shape[:2]) for grid in self.grids])
        relevance = np.where(np.isnan(spreads).all(0), np.nan, np.nansum(spreads, axis=0))
        return pixels, overlay(pixels, relevance, full)

    def evidence_in_picture(self, shape: tuple[int, int]) -> Float[np.ndarray, "h w"] | None:
        """1 where a patch is evidence by half of its area or more, 0 elsewhere; None where no evidence is known.

        Args:
            shape: Height and width of the result, which shows the whole picture.
        """
        if self.evidence is None or not self.grids:
            return None
        shares = [spread(grid.units, self.evidence[grid.members], shape) for grid in self.grids]
        return (np.nan_to_num(np.stack(shares)).max(axis=0) >= 0.5).astype(float)

    def blocks(self) -> Iterator[tuple[str, Float[np.ndarray, " U"]]]:
        """Title and scores of each map: the mean, the phrases, and each target token where there are several."""
        for _, title, scores in self.choices():
            yield title, scores

    def choices(self) -> Iterator[tuple[str, str, Float[np.ndarray, " U"]]]:
        """A short label, the title and the scores of each map."""
        target = "".join(self.target_texts).strip()
        several = len(self.target_texts) > 1
        yield "all", f"target “{target}”" + (" (mean over its tokens)" if several else ""), self.scores
        for phrase, scores in self.phrase_maps():
            yield phrase.text, f"phrase “{phrase.text}” (mean over its tokens)", scores
        if self.per_target is not None and several:
            for index, (text, scores) in enumerate(zip(self.target_texts, self.per_target, strict=True), start=1):
                yield text, f"target token {index} “{text.strip()}”", scores

    def phrase_maps(self) -> Iterator[tuple[Phrase, Float[np.ndarray, " U"]]]:
        """Each phrase and its scores."""
        if self.per_target is not None:
            for phrase in self.phrases:
                yield phrase, self.per_target[slice(*phrase.tokens)].mean(0)


def joined_span(spans: Sequence[tuple[int, int] | None]) -> tuple[int, int] | None:
    """From the first to the last character of some ranges; None where they are none."""
    given = [span for span in spans if span is not None]
    return (min(a for a, _ in given), max(b for _, b in given)) if given else None


def summed(scores: Float[np.ndarray, "T U"], groups: Sequence[Sequence[int]]) -> Float[np.ndarray, "T W"]:
    """Sums over groups of units."""
    return np.stack([scores[:, list(group)].sum(axis=1) for group in groups], axis=1)


def largest(values: Float[np.ndarray, " U"], groups: Sequence[Sequence[int]]) -> Float[np.ndarray, " W"]:
    """Largest values of groups of units."""
    return np.array([values[list(group)].max() for group in groups])


def find_phrase(target_texts: tuple[str, ...], phrase: str) -> Phrase:
    """Find the target tokens that a phrase overlaps where it first occurs.

    White space does not count: single tokens of some vocabularies read without it.

    Args:
        target_texts: What each of the T target tokens reads.
        phrase: A part of the target.

    Raises:
        ConfigError: The target has no such part.
    """
    texts = ["".join(text.split()) for text in target_texts]
    wanted = "".join(phrase.split())
    first = "".join(texts).find(wanted)
    if not wanted or first < 0:
        raise ConfigError(f"phrase {phrase!r} is no part of the target {''.join(target_texts).strip()!r}")
    ends = np.cumsum([len(text) for text in texts])
    return Phrase(phrase, (int((ends <= first).sum()), int((ends < first + len(wanted)).sum()) + 1))


class UnitRecord(TypedDict):
    """One unit in ``as_dict``."""

    text: str
    span: tuple[int, int] | None
    score: float


class GridRecord(TypedDict):
    """A grid of patches in ``as_dict``: see ``PatchUnits``."""

    first: int
    grid: tuple[int, int]
    area: tuple[float, float, float, float]
    size: tuple[int, int]


class PhraseRecord(TypedDict):
    """A part of the target in ``as_dict``: its tokens as a half-open range, and a score for each unit."""

    text: str
    tokens: tuple[int, int]
    scores: list[float]


class HeatMapRecord(TypedDict):
    """What ``as_dict`` gives: a heat map as JSON writes it."""

    caption: str
    prompt: str | None
    units: list[UnitRecord]
    grids: list[GridRecord]
    target_texts: list[str]
    per_target: list[list[float]] | None
    phrases: list[PhraseRecord]
    remarks: list[str]


def as_dict(heat: HeatMap) -> HeatMapRecord:
    """Give a heat map as plain data for JSON; higher scores are more important."""
    spans = heat.spans or (None,) * len(heat.texts)
    return {
        "caption": heat.caption,
        "prompt": heat.prompt,
        "units": [
            {"text": text, "span": span, "score": score}
            for text, span, score in zip(heat.texts, spans, heat.scores.tolist(), strict=True)
        ],
        "grids": [
            {"first": grid.first, "grid": grid.units.grid, "area": grid.units.area, "size": grid.units.size}
            for grid in heat.grids
        ],
        "target_texts": list(heat.target_texts),
        "per_target": None if heat.per_target is None else heat.per_target.tolist(),
        "phrases": [
            {"text": phrase.text, "tokens": phrase.tokens, "scores": scores.tolist()}
            for phrase, scores in heat.phrase_maps()
        ],
        "remarks": list(heat.remarks),
    }


def colour(score: float, scale: float) -> str:
    """Background of a unit as ``#rrggbb``, between white and red (positive) or blue (negative)."""
    strength = min(abs(score) / scale, 1.0) if scale > 0 else 0.0
    end = RED if score > 0 else BLUE
    return "#" + "".join(f"{round(255 + (channel - 255) * strength):02x}" for channel in end)


def ink(background: str) -> str:
    """Black or white, whichever is easier to read on a background ``#rrggbb``."""
    red, green, blue = (int(background[i : i + 2], 16) for i in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "#ffffff"


def visible(text: str) -> str:
    """Show control characters, and line breaks as arrows: a unit that is only a line break still has a colour."""
    return printable(text).replace("\n", "↵\n")
