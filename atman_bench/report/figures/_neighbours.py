"""What suppressing one patch does alone, with its similar patches, and elsewhere (the paper's Fig. 3a, i)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from atman_bench.core.records import PatchUnits
from atman_bench.report._overlay import shrink, spread
from atman_bench.report.figures._base import WIDTH

SELECTED, SIMILAR, PLAIN = (0x56, 0xB4, 0xE9), (0xE6, 0x9F, 0x00), "0.6"
_PIXELS = 240


@dataclass(frozen=True)
class Perturbation:
    """One suppression of patches.

    Attributes:
        name: As the figure calls it.
        selected: The patch.
        strength: (U,) how much each other patch is suppressed with it, 1 = as much as itself; 0 where it is not.
        change: Of the loss by the patch alone, in nats.
        together: Of the loss with its similar patches; None where they are left alone.
    """

    name: str
    selected: int
    strength: Float[np.ndarray, " U"]
    change: float
    together: float | None


def plot_neighbours(
    picture: UInt8[np.ndarray, "H W 3"], units: PatchUnits, plain: float, perturbations: Sequence[Perturbation]
) -> Figure:
    """The image, then each perturbation's patches on black; below, the loss that it makes.

    Args:
        picture: What is explained.
        units: Its U patches.
        plain: Loss without any perturbation, in nats.
        perturbations: What is suppressed.
    """
    columns = 1 + len(perturbations)
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    grid = figure.add_gridspec(2, columns, height_ratios=(1.2, 1))
    pixels = shrink(picture, _PIXELS)
    axis = figure.add_subplot(grid[0, 0])
    axis.imshow(pixels)
    axis.set(xticks=[], yticks=[], title="image")
    for column, found in enumerate(perturbations, start=1):
        axis = figure.add_subplot(grid[0, column])
        shown = np.zeros((len(units), 3))
        shown += np.outer(np.clip(found.strength, 0, 1), SIMILAR)
        shown[found.selected] = SELECTED
        channels = [spread(units, shown[:, channel], pixels.shape[:2]) for channel in range(3)]
        axis.imshow(np.nan_to_num(np.stack(channels, -1)).astype(np.uint8))
        axis.set(xticks=[], yticks=[], title=found.name)
    bars = figure.add_subplot(grid[1, 1:])
    for place, found in enumerate(perturbations):
        bars.bar(place, plain, 0.5, color=PLAIN, edgecolor="black", linewidth=0.6)
        total = found.change if found.together is None else found.together
        parts = [(found.change, SELECTED, "///")]
        if found.together is not None:
            parts.append((found.together - found.change, SIMILAR, "..."))
        bottom = plain
        for change, colour, hatch in parts:
            shade = [channel / 255 for channel in colour]
            bars.bar(place, change, 0.5, bottom, color=shade, edgecolor="black", linewidth=0.6, hatch=hatch)
            bottom += change
        bars.text(place, max(plain, plain + total, plain + found.change), f"{total:+.2g}", ha="center", va="bottom")
    bars.axhline(plain, color="black", linewidth=0.8, linestyle="--")
    bars.margins(y=0.15)
    bars.set_xticks(range(len(perturbations)), [found.name for found in perturbations])
    bars.set_ylabel("cross entropy, nats")
    for colour, hatch, label in ((SELECTED, "///", "patch"), (SIMILAR, "...", "similar patches")):
        bars.bar(0, 0, color=[channel / 255 for channel in colour], hatch=hatch, edgecolor="black", label=label)
    bars.bar(0, 0, color=PLAIN, edgecolor="black", label="plain (dashed line)")
    figure.legend(*bars.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
