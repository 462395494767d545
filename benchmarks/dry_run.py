"""What ``--dry-run`` says that methods take, by what they then take: alone on the machine.

    python benchmarks/dry_run.py --limit 30
    python benchmarks/dry_run.py --dataset scenes --limit 15
    python benchmarks/dry_run.py --config small --model pulled:smollm2-135m --data SQUAD --limit 4

Plans a run, runs it in a folder that is thrown away, and prints a table: seconds of all samples, as predicted and as
the rows say. Load on the machine between the two shows in the ratio.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from atman_bench.evaluation import runner
from atman_bench.evaluation.config import load_config
from atman_bench.evaluation.dry_run import plan
from atman_bench.evaluation.store import cells
from atman_bench.report._format import markdown_table

METHODS = "atman,adaptive:budget0.25,adaptive:budget0.1,atman_gradient,chefer,attnlrp"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", help="YAML file or preset")
    parser.add_argument("--model")
    parser.add_argument("--dataset")
    parser.add_argument("--data")
    parser.add_argument("--limit", type=int, default=30)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--methods", default=METHODS)
    told = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="dry-run-") as results:
        flags = {name: value for name, value in vars(told).items() if name != "config" and value is not None}
        flags |= {"methods": told.methods.split(","), "baselines": False, "results": results}
        config = load_config(told.config, flags, ())
        predicted = {(cell.method, cell.variant): cell.seconds for cell in plan(config).cells}
        runner.evaluate(config, lambda done, total, doing: None)
        lines = []
        for cell in cells(Path(results)):
            took = sum(stored.seconds or 0.0 for stored in cell.maps().values())
            said = predicted[cell.identity.method, cell.variant]
            name = f"{cell.identity.method}:{cell.variant}"
            lines.append((name, f"{said:.2f}", f"{took:.2f}", f"{said / took:.2f}"))
    print(markdown_table(("method", "predicted, s", "took, s", "ratio"), (":---", *["---:"] * 3), lines))


if __name__ == "__main__":
    main()
