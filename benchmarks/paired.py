"""Every method of one panel of a leaderboard against one of them, on the samples that both have.

python benchmarks/paired.py results/leaderboard squad --reference atman:shifted
"""

import argparse
from pathlib import Path

from atman_bench.metrics._statistics import compare
from atman_bench.report.leaderboard_columns import FAMILIES
from atman_bench.report.leaderboard_panels import panels_of
from atman_bench.report.tables import cell_name


def main() -> None:
    """Print a line for each metric and method: n, the mean difference, its 95 % interval over groups.

    Raises:
        SystemExit: There is not one panel of that name, or no such reference in it.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="a results folder with a leaderboard")
    parser.add_argument("panel", help="how the panel's name begins, such as squad")
    parser.add_argument("--reference", default="atman:shifted", help="(default: %(default)s)")
    arguments = parser.parse_args()
    panels = [panel for panel in panels_of(arguments.results) if panel.name.startswith(arguments.panel)]
    if len(panels) != 1:
        raise SystemExit(f"expected one panel whose name begins with {arguments.panel}, found {len(panels)}")
    frame = panels[0].frame
    names = [cell_name(str(m), str(v)) for m, v in frame[["method", "variant"]].itertuples(index=False, name=None)]
    if arguments.reference not in names:
        raise SystemExit(f"{panels[0].name} has no {arguments.reference}, but {', '.join(sorted(set(names)))}")
    of_cells = frame.assign(cell=names)
    for column in FAMILIES["all metrics"]:
        of_metric = of_cells[of_cells["metric"] == column.metric].dropna(subset=["value"])
        table = of_metric.pivot(index=["uid", "group"], columns="cell", values="value")
        if arguments.reference not in table:
            continue
        for cell in table.columns.drop(arguments.reference):
            both = table[[cell, arguments.reference]].dropna()
            if both.empty:
                continue
            groups = both.index.get_level_values("group").to_numpy()
            found = compare(both[cell].to_numpy(), both[arguments.reference].to_numpy(), groups)
            ends = "" if found.interval is None else f" [{found.interval.low:+.4f}, {found.interval.high:+.4f}]"
            print(f"{column.metric} {cell} n={found.n} {found.difference:+.4f}{ends}")


if __name__ == "__main__":
    main()
