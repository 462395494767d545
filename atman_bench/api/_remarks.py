"""What a reader has to know about how a text became tokens, said once for each explanation."""

import logging

from atman_bench.core.tensors import Encoded

_LOG = logging.getLogger(__name__)


def say_remarks(encoded: Encoded) -> None:
    """Log an encoded sample's remarks."""
    for remark in encoded.remarks:
        _LOG.warning("%s", remark)
