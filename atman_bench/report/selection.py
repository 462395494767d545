"""Which samples a table of stored results is made of."""

import pandas as pd

from atman_bench.report.tables import CELL, EXPERIMENT


def on_common_samples(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows of the samples that all methods of an experiment were run on, so that their means can be compared.

    A sample on which a method failed is one that it was run on: it is counted as missing there. Samples that no method
    was run on (too long for the model) stay, and are counted.

    Args:
        frame: From ``tables.frame_of``.

    Returns:
        The rows that are left, and a sentence for each experiment from which samples were taken.
    """
    kept, notes = [], []
    for (dataset, model, _), experiment in frame.groupby(EXPERIMENT, sort=False):
        seen = experiment[experiment["n_units"] > 0]
        by_cell = [set(cell["uid"]) for _, cell in seen.groupby(CELL)]
        explained = set().union(*by_cell)
        common = set.intersection(*by_cell) if by_cell else set()
        if common == explained:
            kept.append(experiment)
            continue
        where = f"{dataset} by {model}"
        if not common:
            notes.append(f"{where}: no sample is common to all {len(by_cell)} methods, so each has its own samples.")
            kept.append(experiment)
            continue
        notes.append(
            f"{where}: the {len(common)} of {len(explained)} samples that all {len(by_cell)} methods were run on; "
            "--all-samples shows the others too."
        )
        kept.append(experiment[experiment["uid"].isin(common) | ~experiment["uid"].isin(explained)])
    return pd.concat(kept), tuple(dict.fromkeys(notes))
