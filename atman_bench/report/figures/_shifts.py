"""How steering shifts the log-probability of words, by the factor of their attention scores (the paper's Fig. 2b)."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from atman_bench.report.figures._base import WIDTH

_COLOURS, _MARKERS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7"), "os^D"
_PLAIN = 1.0
"""The factor that changes nothing."""


@dataclass(frozen=True)
class Shift:
    """How one change of the prompt shifts one word.

    Attributes:
        changed: The word of the prompt whose attention scores are changed.
        factor: What they are multiplied by.
        topic: The word whose log-probability is read.
        first: Its shift in nats at the first step, where both texts are the same.
        mean: The same, averaged over the steps of each text.
    """

    changed: str
    factor: float
    topic: str
    first: float
    mean: float


def plot_shifts(shifts: Sequence[Shift]) -> Figure:
    """A panel for each word whose log-probability is read, a line for each word that is changed; factors are in order.

    Solid and filled: at the first step; dashed and open: mean over the steps. A factor of 1 shifts nothing.
    """
    topics = list(dict.fromkeys(shift.topic for shift in shifts))
    words = list(dict.fromkeys(shift.changed for shift in shifts))
    factors = sorted({_PLAIN, *(shift.factor for shift in shifts)})
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    panels = figure.subplots(1, len(topics), sharey=True, squeeze=False)[0]
    for axis, topic in zip(panels, topics, strict=True):
        for i, word in enumerate(words):
            found = {shift.factor: shift for shift in shifts if (shift.topic, shift.changed) == (topic, word)}
            places = [factors.index(factor) for factor in factors if factor in found or factor == _PLAIN]
            for name, line in (("first", "-"), ("mean", "--")):
                values = [getattr(found[f], name) if f in found else 0.0 for f in (factors[p] for p in places)]
                axis.plot(
                    places,
                    values,
                    color=_COLOURS[i % len(_COLOURS)],
                    marker=_MARKERS[i % len(_MARKERS)],
                    markerfacecolor="white" if name == "mean" else None,
                    linestyle=line,
                    label=f"“{word}” changed, {'first step' if name == 'first' else 'mean over steps'}",
                )
        axis.axhline(0, color="0.6", linewidth=0.6, zorder=0)
        axis.set_xticks(range(len(factors)), [f"{factor:g}" for factor in factors])
        axis.set_title(f"log-probability of “{topic}”")
        axis.set_xlabel("factor of the attention scores (1: plain)")
    panels[0].set_ylabel("shift, nats")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
