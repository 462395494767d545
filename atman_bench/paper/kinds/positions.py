"""How much of their relevance the maps of an evaluation put at the edges and at the ends of the sequence of patches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool

from atman_bench.core.errors import DataError
from atman_bench.core.records import Status
from atman_bench.methods.floors import FLOORS
from atman_bench.metrics._statistics import bootstrap_interval
from atman_bench.paper.experiments._base import Claim, Experiment, Gathers, Region
from atman_bench.paper.kinds._base import Outcome, Plan, Request, Run
from atman_bench.paper.kinds._paired import paired_test
from atman_bench.paper.kinds.evaluation import Evaluated, Evaluation
from atman_bench.report._format import with_interval
from atman_bench.report.render import TextTable
from atman_bench.report.tables import cell_name
from atman_bench.report.verdicts import Ending, Verdict

if TYPE_CHECKING:
    from atman_bench.evaluation.runner import Progress

_UNIFORM = "uniform"


@dataclass(frozen=True)
class Positions(Run):
    """Shares of the positive relevance of an evaluation's maps in regions of the grid of patches.

    Attributes:
        pictures: What is run; its dataset is of pictures.
    """

    pictures: Evaluation

    @property
    def computed(self) -> Run:
        """The run of the pictures."""
        return self.pictures

    def plan(self, name: str, request: Request) -> Plan:
        """That of the pictures."""
        return self.pictures.plan(name, request)

    def run(self, request: Request, progress: "Progress") -> "Shares":
        """Run the pictures and measure their maps.

        Raises:
            DataError: No map is kept, or none has a grid.
        """
        found = self.pictures.run(request, progress)
        frame = pd.DataFrame(list(_lines(found)))
        if frame.empty:
            raise DataError("no map of patches is kept in this folder, so it cannot be said where their relevance is")
        return Shares(found.manifest, found.notes, found, frame)


@dataclass(frozen=True)
class Shares(Outcome):
    """Shares of relevance by region.

    Attributes:
        pictures: The evaluation.
        frame: Columns method, variant, uid, group, region, ``value`` (a share) and ``expected`` (of a map that is the
            same everywhere).
    """

    pictures: Evaluated
    frame: pd.DataFrame

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """A line for each method, and one for a map that is the same everywhere."""
        lines = [
            (cell_name(str(method), str(variant)), *self._line(cell))
            for (method, variant), cell in self.frame.groupby(["method", "variant"], sort=False)
        ]
        expected = self.frame.groupby("region")["expected"].mean()
        lines.append((_UNIFORM, "", *(f"{100 * expected[region]:.1f}" for region in Region)))
        about = self.pictures.cells[0].identity
        return (
            TextTable(
                f"Where the relevance is · {about.dataset} · {about.model}",
                "Per cent of a map's positive relevance, mean over maps; [95 % bootstrap interval over groups]. Maps "
                f"without positive relevance are left out. The line {_UNIFORM} is the share of patches in the region.",
                ("method", "n", *Region),
                tuple(lines),
                (*(False for _ in lines[:-1]), True),
            ),
        )

    def verdict(self, claim: Claim) -> Verdict:
        """Whether more of the relevance is in a region by one method than by another, or than by a uniform map."""
        if not isinstance(claim, Gathers):
            return super().verdict(claim)
        left = self._share(claim.left, claim.region)
        if claim.right is None:
            name, right = _UNIFORM, left.assign(value=left["expected"])
        else:
            name, right = self.pictures.side(claim.right)[0], self._share(claim.right, claim.region)
        test = paired_test(f"share of the {claim.region}, per cent,", left, right, claim.smallest)
        if test is None:
            return Verdict(claim.words, Ending.UNTESTED, "No map of both has positive relevance.", claim.source)
        because = (
            f"{self.pictures.side(claim.left)[0]} − {name}: {test.words}; smallest that matters {claim.smallest:g}; "
            f"{test.on}"
        )
        return Verdict(claim.words, test.ending, because, claim.source, None, test.paired.p_value)

    def _line(self, cell: pd.DataFrame) -> list[str]:
        numbers = [str(cell["uid"].nunique())]
        for region in Region:
            of_region = cell[cell["region"].eq(region)]
            values = 100 * of_region["value"].to_numpy()
            interval = bootstrap_interval(values, of_region["group"].to_numpy())
            ends = (np.nan, np.nan) if interval is None else (interval.low, interval.high)
            numbers.append(with_interval(float(values.mean()), *ends))
        return numbers

    def _share(self, side: str, region: Region) -> pd.DataFrame:
        cell = self.pictures.cell_of(side)
        frame = self.frame[self.frame["region"].eq(region)]
        if cell is None:
            return frame.iloc[:0].set_index("uid")
        return frame[frame["method"].eq(cell[0]) & frame["variant"].eq(cell[1])].set_index("uid")


def region_of(region: Region, grid: tuple[int, int]) -> Bool[np.ndarray, " U"]:
    """Which patches of a grid (rows, columns), row by row from the top left, are in a region."""
    inside = np.zeros(grid, bool)
    match region:
        case Region.LAST_TWO:
            inside.flat[-2:] = True
        case Region.FIRST_TWO:
            inside.flat[:2] = True
        case Region.FIRST_ROW:
            inside[0] = True
        case Region.EDGE:
            inside[[0, -1]] = True
            inside[:, [0, -1]] = True
    return inside.ravel()


def _lines(found: Evaluated) -> Iterator[dict[str, object]]:
    """A line for each map and region; maps of another grid than the first method's are of pixels and left out."""
    grid = ""
    for cell in found.cells:
        if cell.identity.method in FLOORS:
            continue
        for uid, stored in cell.maps().items():
            of_map = str(stored.facts.get("grid", ""))
            grid = grid or of_map
            if uid not in found.summary.uids or stored.status is not Status.OK or not grid or of_map != grid:
                continue
            x = np.maximum(np.asarray(stored.scores, float), 0)
            if not x.sum() > 0:
                continue
            rows, columns = map(int, grid.split("x"))
            for region in Region:
                inside = region_of(region, (rows, columns))
                yield {
                    "method": cell.identity.method,
                    "variant": cell.variant,
                    "uid": uid,
                    "group": stored.group,
                    "region": region,
                    "value": float(x[inside].sum() / x.sum()),
                    "expected": float(inside.mean()),
                }
