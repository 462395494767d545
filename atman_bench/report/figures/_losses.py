"""The loss of one target without each token of a text, as the column of the paper's Fig. 2a."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from atman_bench.report._overlay import RED
from atman_bench.report.figures._base import WIDTH
from atman_bench.report.heatmap import ink
from atman_bench.report.heatmap_png import CELL_INCHES, write_cells

_SIZE = 8.0
_COLUMN = CELL_INCHES * _SIZE
_LINE = 0.22
_NUMBER, _BAR = 9, 26
"""Character cells of the loss, and of the longest bar."""
_PALE, _DARK = (0xFF, 0xF6, 0xE0), (0xE6, 0x74, 0x2E)
_SUPPRESSED = "#f6b9b5"


@dataclass(frozen=True)
class LossLine:
    """The loss under one perturbation.

    Attributes:
        before: Text before the suppressed token.
        token: The suppressed token; empty where nothing is.
        after: Text after it.
        loss: In nats a target token.
    """

    before: str
    token: str
    after: str
    loss: float


def plot_losses(lines: Sequence[LossLine]) -> Figure:
    """A line for each perturbation: the text with its suppressed token in red, and the loss as number, shade and bar.

    A line from top to bottom is at the first line's loss, which is that of the plain model.

    Args:
        lines: The plain model, then each perturbation.
    """
    room = int(WIDTH / _COLUMN) - _NUMBER - _BAR - 4
    texts = [_clipped(line, room) for line in lines]
    wide = max(sum(map(len, parts)) for parts in texts) + 2
    width, height = wide + _NUMBER + _BAR + 3, len(lines) + 2
    above = 0.3
    inches = height * _LINE
    figure = Figure(figsize=(max(width * _COLUMN, 5.0), inches + above))
    axes = figure.add_axes((0, 0, 1, inches / (inches + above)))
    axes.set(xlim=(-1, max(width, 5.0 / _COLUMN) - 1), ylim=(height, 0))
    axes.axis("off")
    write_cells(axes, 0, 0, "suppressed: red", _SIZE, "#555555")
    write_cells(axes, wide, 0, "cross entropy, nats a target token", _SIZE, "#555555")
    losses = [line.loss for line in lines]
    most, least = max(losses), min(losses)
    for row, (line, (before, token, after)) in enumerate(zip(lines, texts, strict=True), start=1):
        axes.add_patch(Rectangle((len(before), row + 0.08), len(token), 0.84, facecolor=_SUPPRESSED, linewidth=0))
        write_cells(axes, 0, row, before + token + after, _SIZE)
        share = (line.loss - least) / (most - least) if most > least else 0.0
        shade = "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(_PALE, _DARK, strict=True))
        axes.add_patch(
            Rectangle((wide, row + 0.06), _NUMBER - 2, 0.88, facecolor=shade, edgecolor="0.5", linewidth=0.5)
        )
        write_cells(axes, wide + 0.6, row, f"{line.loss:.2f}", _SIZE, ink(shade))
        if most > 0:
            length = _BAR * line.loss / most
            colour = "0.6" if row == 1 else [channel / 255 for channel in RED]
            axes.add_patch(Rectangle((wide + _NUMBER, row + 0.2), length, 0.6, facecolor=colour, linewidth=0))
    if most > 0:
        plain = wide + _NUMBER + _BAR * losses[0] / most
        axes.plot([plain, plain], [1, len(lines) + 1], color="black", linewidth=0.8, linestyle="--")
    return figure


def _clipped(line: LossLine, room: int) -> tuple[str, str, str]:
    """The parts of a line, one token of context after the other cut from its ends until it fits."""
    before, token, after = (part.replace("\n", "↵") for part in (line.before, line.token, line.after))
    if len(before + token + after) <= room:
        return before, token, after
    side = max((room - len(token)) // 2, 1)
    left = before if len(before) <= side else "…" + before[len(before) - side + 1 :]
    rest = room - len(left) - len(token)
    right = after if len(after) <= rest else after[: max(rest - 1, 0)] + "…"
    return left, token, right
