"""``minimal_pairs``: why one word rather than another, where a word before decides: IOI and BLiMP.

Source: Wang et al. 2023 (indirect objects), Warstadt et al. 2020 (BLiMP) and Ferrando et al. 2023, who annotate the
deciding word (Apache-2.0). Nothing of them is part of this package.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atman_bench.core.errors import ConfigError, UnknownNameError
from atman_bench.core.records import CharSpans, Sample, Skipped
from atman_bench.datasets._base import Dataset, DatasetSpec
from atman_bench.datasets._json import field
from atman_bench.datasets._rows import Rows, is_file, read_file, read_hub

COLUMNS = ("one_prefix_prefix", "one_prefix_word_good", "one_prefix_word_bad", "target")
"""Prefix, right word, wrong word, and the word of the prefix that decides between them."""

EXPECTED = f"a CSV or JSON file with the columns {', '.join(COLUMNS)}, or a folder of such files, one a paradigm"
MISSING = frozenset({"", "NA", "nan"})
"""What stands where nobody could say which word decides."""


@dataclass(frozen=True)
class MinimalPairsConfig:
    """Options of ``minimal_pairs``.

    Attributes:
        data: A file, a folder with a CSV file for each paradigm, or a hub id with the same columns.
        paradigms: Files of the folder that are read, without their suffix (``ioi``); null means all.
        contrastive: The second word is the foil: maps explain why the first rather than the second. False explains the
            first word alone.
        split: Split to load from the hub.
        subset: Configuration of a hub id.
        revision: Hub revision.
    """

    data: str | None = None
    paradigms: tuple[str, ...] | None = None
    contrastive: bool = True
    split: str = "train"
    subset: str | None = None
    revision: str | None = None


def load(config: MinimalPairsConfig) -> Dataset:
    """Read the pairs: the prefix is the prompt, the right word the target, the wrong one the foil.

    Ground truth is the deciding word where it stands in the prefix as a whole word; of several occurrences all are.

    Raises:
        ConfigError: No ``data``, or ``paradigms`` of something that is no folder.
        UnknownNameError: The folder has no such paradigm.
        DataError: The source is missing or malformed.
    """
    if config.data is None:
        raise ConfigError(f"minimal_pairs needs data: give {EXPECTED} (--data PATH)")
    samples: list[Sample] = []
    skipped: list[Skipped] = []
    digest = hashlib.sha256()
    for paradigm, rows in _sources(config, config.data):
        digest.update(f"{paradigm}\0{rows.content_hash}\n".encode())
        for i, record in enumerate(rows.records):
            uid = f"{paradigm}-{i}"
            found = _sample(uid, paradigm, record, config.contrastive, f"{paradigm}: [{i}]")
            if isinstance(found, Sample):
                samples.append(found)
            else:
                skipped.append(Skipped(uid, found))
    return Dataset(tuple(samples), tuple(skipped), digest.hexdigest())


def _sources(config: MinimalPairsConfig, data: str) -> Iterator[tuple[str, Rows]]:
    """Paradigms with their rows."""
    files = {path.stem: path for path in sorted(Path(data).glob("*.csv"))} if Path(data).is_dir() else {}
    if config.paradigms is not None and not files:
        raise ConfigError(f"paradigms chooses files of a folder, and {data} is none with CSV files: leave it out")
    for paradigm in config.paradigms or ():
        if paradigm not in files:
            raise UnknownNameError("paradigm", paradigm, files)
    if files:
        for paradigm in config.paradigms or files:
            yield paradigm, read_file(files[paradigm], COLUMNS, EXPECTED)
    elif is_file(data):
        yield Path(data).stem, read_file(Path(data), COLUMNS, EXPECTED)
    else:
        rows = read_hub(data, COLUMNS, EXPECTED, config.split, config.revision, config.subset)
        yield config.subset or Path(data).name, rows


def _sample(uid: str, paradigm: str, record: Mapping[str, Any], contrastive: bool, where: str) -> Sample | str:
    """A pair as a sample, or why it is none.

    Raises:
        DataError: A column is no text.
    """
    prefix, good, bad, deciding = (field(record, name, str, where).strip() for name in COLUMNS)
    if not prefix or not good or not bad:
        return "the prefix or one of the words is empty"
    if good == bad:
        return "both words are the same"
    if deciding in MISSING:
        return "no deciding word is named"
    spans = tuple(match.span() for match in re.finditer(rf"(?<!\w){re.escape(deciding)}(?!\w)", prefix))
    if not spans:
        return "the deciding word does not stand in the prefix"
    return Sample(
        uid=uid,
        prompt=prefix,
        target=f" {good}",
        explain=(0, len(prefix)),
        label=CharSpans(spans),
        # Two pairs may have one prefix.
        group=f"{paradigm}/{prefix}",
        facts={"paradigm": paradigm},
        foil=f" {bad}" if contrastive else None,
    )


SPEC = DatasetSpec(
    summary="pairs of words with the word that decides between them, IOI and BLiMP; contrastive (Apache-2.0)",
    config=MinimalPairsConfig,
    load=load,
    label=lambda config: "contrastive" if config.contrastive else "",
)
