"""Reference answers of a dataset, beyond the target that is explained."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from atman_bench.datasets._base import Dataset


@dataclass(frozen=True)
class AnsweredDataset(Dataset):
    """A dataset whose questions were answered by several people.

    Attributes:
        answers: All reference answers of a sample, by its uid; a sample that is not there has its target alone.
        voted: Whether an answer is the better the more people gave it (VQA accuracy); else each is as good (SQuAD).
    """

    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    voted: bool = False
