"""``lambada``: the last word of a passage, with what people marked as the reason for it (annotated LAMBADA).

Source: Paperno et al. 2016 (passages, CC BY 4.0); Vafa et al. 2021, Section 6 (rationales, MIT licence). Nothing of
either is part of this package: a copy of the file is read.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from atman_bench.core.errors import ConfigError
from atman_bench.core.records import CharSpans, Sample, Skipped
from atman_bench.datasets._base import Dataset, DatasetSpec
from atman_bench.datasets._json import field
from atman_bench.datasets._rows import is_file, read_file, read_hub, spans_in

EXPECTED = "annotated LAMBADA: records of text and rationale ([[start, end], ...]), as a JSON file"
COLUMNS = ("text", "rationale")


@dataclass(frozen=True)
class LambadaConfig:
    """Options of ``lambada``.

    Attributes:
        data: A file of records with text and rationale (character ranges), a dataset folder or a hub id.
        split: Split to load from a folder or the hub.
        revision: Hub revision.
    """

    data: str | None = None
    split: str = "test"
    revision: str | None = None


def load(config: LambadaConfig) -> Dataset:
    """Read the passages: all but the last word is the prompt, the last word the target, the rationale the ground truth.

    Raises:
        ConfigError: No ``data``.
        DataError: The source is missing or malformed.
    """
    if config.data is None:
        raise ConfigError(f"lambada needs data: give {EXPECTED}, or a hub id with these columns (--data PATH_OR_ID)")
    if is_file(config.data):
        rows = read_file(Path(config.data), COLUMNS, EXPECTED)
    else:
        rows = read_hub(config.data, COLUMNS, EXPECTED, config.split, config.revision)
    samples: dict[str, Sample] = {}
    skipped: list[Skipped] = []
    for i, record in enumerate(rows.records):
        uid = f"lambada-{record.get('lambadaIndex', i)}"
        found = "duplicate passage" if uid in samples else _sample(uid, record, f"{config.data}: [{i}]")
        if isinstance(found, Sample):
            samples[uid] = found
        else:
            skipped.append(Skipped(uid, found))
    return Dataset(tuple(samples.values()), tuple(skipped), rows.content_hash)


def _sample(uid: str, record: object, where: str) -> Sample | str:
    """A passage as a sample, or why it is none."""
    text = field(record, "text", str, where).rstrip()
    last = re.search(r"\s\S+$", text)
    if last is None or not text[: last.start()].strip():
        return "the passage has no word before its last"
    prompt = text[: last.start()]
    spans = tuple(spans_in(record, "rationale", where))
    if not spans:
        return "empty rationale"
    if any(not 0 <= start < end <= len(text) for start, end in spans):
        return "the rationale does not lie in the passage"
    # A word cannot be the reason for itself: the model has not read it yet.
    before = tuple(sorted({(start, min(end, len(prompt))) for start, end in spans if start < len(prompt)}))
    if not any(prompt[start:end].strip() for start, end in before):
        return "empty rationale"
    return Sample(
        uid=uid,
        prompt=prompt,
        target=text[len(prompt) :],
        explain=(0, len(prompt)),
        label=CharSpans(before),
        group=uid,
    )


SPEC = DatasetSpec(
    summary="the last word of a passage with human rationales, annotated LAMBADA (MIT; passages CC BY 4.0)",
    config=LambadaConfig,
    load=load,
)
