"""Explanations of one prompt and target side by side: several methods, or several models."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from atman_bench.api.explanation import By, Explanation, framed, in_notebook
from atman_bench.core.errors import ConfigError
from atman_bench.report.heatmap import HeatMap

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Comparison:
    """Explanations of the same units.

    Attributes:
        names: What each is called: the method, with the model where there are several.
        explanations: The explanations.
    """

    names: tuple[str, ...]
    explanations: tuple[Explanation, ...]

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.names)} on {len(self.explanations[0].units)} units>"

    def _repr_html_(self) -> str:
        return framed(self.to_html())

    def heats(self, by: str = By.TOKEN) -> list[tuple[str, HeatMap]]:
        """What is drawn of each."""
        return [(name, found.heat(by)) for name, found in zip(self.names, self.explanations, strict=True)]

    def to_html(self, *, by: str = By.TOKEN) -> str:
        """A web page with a switch between the maps."""
        from atman_bench.report.heatmap_page import to_html

        return to_html(self.heats(by))

    def show(self, *, by: str = By.TOKEN) -> None:
        """Show all maps: in a notebook as a page to click through, elsewhere one after the other."""
        if in_notebook():
            from IPython.display import HTML, display

            display(HTML(framed(self.to_html(by=by))))
            return
        for found in self.explanations:
            found.show(by=by)

    def to_dataframe(self, *, by: str = By.TOKEN) -> "pd.DataFrame":
        """A line for each unit: its text, and its score by each method, in that method's own unit."""
        import pandas as pd

        heats = self.heats(by)
        return pd.DataFrame({"text": list(heats[0][1].texts), **{name: heat.scores for name, heat in heats}})

    def correlation(self, *, by: str = By.TOKEN) -> "pd.DataFrame":
        """Spearman's rank correlation of each pair of maps; NaN where one is constant.

        Example:
            >>> import atman_bench
            >>> model = atman_bench.load_model("tiny-text", device="cpu")
            >>> prompt = "Everdeen Bridge was designed by Karin Fairbanks. Q: Who designed Everdeen Bridge? A:"
            >>> maps = [atman_bench.explain(model, prompt=prompt, method=m) for m in ("atman", "occlusion")]
            >>> table = atman_bench.compare(maps).correlation()
            >>> list(table.columns)
            ['atman:shifted', 'occlusion']
            >>> float(table.iloc[0, 0])
            1.0
        """
        import pandas as pd

        scores = [heat.scores for _, heat in self.heats(by)]
        values = [[_spearman(a, b) for b in scores] for a in scores]
        return pd.DataFrame(values, index=list(self.names), columns=list(self.names))


def compare(explanations: Iterable[Explanation]) -> Comparison:
    """Put explanations of the same prompt and target side by side.

    Raises:
        ConfigError: There are none, or they are not of the same units and target.
    """
    found = tuple(explanations)
    if not found:
        raise ConfigError("compare needs at least one explanation, received none")
    for other in found[1:]:
        if other.units.texts != found[0].units.texts or other.target.strip() != found[0].target.strip():
            raise ConfigError(
                f"only explanations of the same units and target can be compared: {found[0]!r} and {other!r}"
            )
    return Comparison(_names(found), found)


def _names(found: Sequence[Explanation]) -> tuple[str, ...]:
    several = len({one.model for one in found}) > 1
    names = [f"{one.name} on {one.model}" if several else one.name for one in found]
    counts = Counter(names)
    seen: Counter[str] = Counter()
    for i, name in enumerate(names):
        seen[name] += 1
        if counts[name] > 1:
            names[i] = f"{name} ({seen[name]})"
    return tuple(names)


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b).statistic) if np.ptp(a) > 0 and np.ptp(b) > 0 else float("nan")
