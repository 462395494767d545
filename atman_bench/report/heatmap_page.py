"""Heat maps as one web page that needs no other file and no network.

The target's tokens stand on top: a click or the arrow keys choose whose map is shown. Several methods get a switch.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from atman_bench.core.texts import json_text, words_of
from atman_bench.report import _html
from atman_bench.report._overlay import BLUE, RED, overlay, shrink
from atman_bench.report.heatmap import HeatMap, as_dict, visible

MOST_PIXELS = 480
"""Longer side of an image on a page."""

_DIGITS = 6


def to_html(heats: Sequence[tuple[str, HeatMap]]) -> str:
    """Write maps of the same units as a page.

    Args:
        heats: What each is called in the switch between them, and the map.
    """
    content = {"view": view_of(heats), "copied": [as_dict(heat) for _, heat in heats]}
    return _html.render("heatmap", title=heats[0][1].caption, content=script_json(content), colours=COLOURS)


COLOURS = {"red": list(RED), "blue": list(BLUE)}
"""What supports the target and what opposes it."""


def script_json(content: Any) -> str:
    """JSON inside a script element: nothing in it can end the element."""
    return json_text(content).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def view_of(
    heats: Sequence[tuple[str, HeatMap]], most_pixels: int = MOST_PIXELS, digits: int = _DIGITS
) -> dict[str, Any]:
    """What the page's script draws: text and image once, the maps of each method.

    Args:
        heats: Maps of the same units, each with a name.
        most_pixels: Longer side of the image.
        digits: Of each score.
    """
    first = heats[0][1]
    words = None if first.prompt is None or first.spans is None else words_of(first.prompt, first.spans)
    return {
        "pieces": [
            [visible(piece.text) if piece.unit is not None else piece.text, piece.unit] for piece in first.pieces
        ],
        "texts": [visible(text).strip() for text in first.texts],
        "words": words if words and len(words) < len(first.texts) else None,
        "evidence": None if first.evidence is None else [round(float(share), 3) for share in first.evidence],
        "image": _image(first, most_pixels),
        "methods": [_method(name, heat, digits) for name, heat in heats],
    }


def _method(name: str, heat: HeatMap, digits: int) -> dict[str, Any]:
    return {
        "name": name,
        "caption": heat.caption,
        "remarks": list(heat.remarks),
        "noise": heat.noise,
        "maps": [
            {"label": label, "title": title, "scores": numbers(scores, digits)}
            for label, title, scores in heat.choices()
        ],
    }


def numbers(scores: Float[np.ndarray, " U"], digits: int) -> list[float]:
    """Scores as short decimal numbers."""
    return [float(f"{score:.{digits}g}") for score in scores.tolist()]


def _image(heat: HeatMap, most_pixels: int) -> dict[str, Any] | None:
    """The image, the pale image that maps are laid over, and where patches lie; None where there is none."""
    if not heat.grids:
        return None
    grids = [
        {"first": grid.first, "grid": grid.units.grid, "area": grid.units.area, "size": grid.units.size}
        for grid in heat.grids
    ]
    if heat.picture is None:
        return {"grids": grids, "source": None, "pale": None}
    pixels = shrink(heat.picture, most_pixels)
    pale = overlay(pixels, np.zeros(pixels.shape[:2]), 0)
    return {"grids": grids, "source": picture_uri(pixels), "pale": picture_uri(pale)}


def picture_uri(pixels: UInt8[np.ndarray, "h w 3"]) -> str:
    """An image as part of a page."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=85)
    return _html.data_uri(file.getvalue(), "jpeg")
