"""The only place where labels become unit labels."""

import numpy as np
from jaxtyping import Bool

from atman_bench.errors import SampleError
from atman_bench.records import CharSpans, TextUnits


def unit_labels(label: CharSpans, units: TextUnits) -> Bool[np.ndarray, " U"]:
    """Mark the units that share at least one character with the evidence (PROTOCOL of Table 1a).

    Characters are those of the prompt. Tokens of byte-level vocabularies carry the white space before a word; it does
    no harm, since evidence starts and ends with a character of its own. A unit of no characters is never evidence.

    Raises:
        SampleError: The units have no character spans (a prompt given as token ids), or none of them overlaps.
    """
    if units.spans is None:
        raise SampleError("the units have no character positions; labels need a prompt given as text, not as token ids")
    unit_spans = np.array(units.spans, dtype=np.int64).reshape(-1, 1, 2)
    evidence = np.array(label.spans, dtype=np.int64).reshape(1, -1, 2)
    start = np.maximum(unit_spans[..., 0], evidence[..., 0])
    end = np.minimum(unit_spans[..., 1], evidence[..., 1])
    covered = np.any(start < end, axis=1)
    if not covered.any():
        raise SampleError(f"span does not align with any explained unit: characters {list(label.spans)}")
    return covered
