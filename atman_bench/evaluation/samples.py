"""Which samples of a dataset a run evaluates: a seeded choice of those that fit the model."""

import logging
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from atman_bench.core.errors import AtmanBenchError, ConfigError, DataError, SampleError, one_line
from atman_bench.core.records import Picture, Sample, Skipped, UnitKind, Units, Word
from atman_bench.core.tensors import Encoded
from atman_bench.datasets._base import Dataset
from atman_bench.evaluation.config import RunConfig
from atman_bench.metrics._align import unit_labels
from atman_bench.models._base import ModelAdapter, Plain
from atman_bench.models._label_ranking import Name, likeliest_names
from atman_bench.models._reading import encode_sample

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class UsableSample:
    """A sample that fits the model, without the model: it travels between processes.

    Attributes:
        sample: The sample.
        label: (U,) the share of each unit that is ground truth.
        word_labels: The same for each word, where words have ground truth of their own.
        length: S, the number of input positions.
        n_targets: T, the number of target tokens.
        kind: What of a text is one unit.
    """

    sample: Sample
    label: tuple[float, ...]
    word_labels: tuple[tuple[float, ...], ...] | None
    length: int
    n_targets: int
    kind: UnitKind

    @property
    def uid(self) -> str:
        """The sample's."""
        return self.sample.uid

    def on_model(self, adapter: ModelAdapter) -> "PreparedSample":
        """The same with a model that it fits."""
        of_usable = self.sample, self.label, self.word_labels, self.length, self.n_targets, self.kind
        return PreparedSample(*of_usable, adapter)


@dataclass(frozen=True)
class PreparedSample(UsableSample):
    """A sample that fits the model, and what its methods share.

    Attributes:
        adapter: The model.
    """

    adapter: ModelAdapter

    @property
    def usable(self) -> UsableSample:
        """The same without the model."""
        return UsableSample(self.sample, self.label, self.word_labels, self.length, self.n_targets, self.kind)

    def on(self, units: Units) -> "PreparedSample":
        """The sample with labels of other units: some methods explain single pixels.

        Raises:
            SampleError: See ``unit_labels``.
        """
        return replace(self, label=labels_of(self.sample, units), word_labels=words_of(self.sample, units))

    def without_tensors(self) -> "PreparedSample":
        """A copy that has encoded nothing: a run works on copies, so that it holds the tensors of one sample."""
        return replace(self)

    @cached_property
    def encoded(self) -> Encoded:
        """The sample as the model reads it."""
        return encode_sample(self.adapter, self.sample, self.kind)

    @property
    def sequences(self) -> tuple[Encoded, ...]:
        """What methods run: the prompt with the target, and with a foil that is a sequence of its own."""
        encoded = self.without_tensors().encoded
        return (encoded,) if encoded.foil is None else (encoded, encoded.foil)

    @cached_property
    def plain(self) -> Plain:
        """The unperturbed model on the sample, which runs once for all methods."""
        return self.adapter.plain(self.encoded)


@dataclass(frozen=True)
class Selected:
    """What a run evaluates, and what it cannot.

    Attributes:
        samples: The first ``limit`` usable ones in seeded order.
        unusable: Samples that were passed over on the way to them.
        skipped: Reason -> how many samples, words of samples and entries of the dataset could not be used.
        n_candidates: Samples and unusable entries that the dataset has.
        n_passed_over: How many of them could not be used; the rest lie beyond ``limit``.
    """

    samples: tuple[PreparedSample, ...]
    unusable: tuple[Skipped, ...]
    skipped: Mapping[str, int]
    n_candidates: int
    n_passed_over: int


def select(adapter: ModelAdapter, dataset: Dataset, config: RunConfig) -> Selected:
    """The samples of a run; their order depends on the seed alone, so a larger limit keeps those of a smaller one.

    Raises:
        ConfigError: ``named`` is given, and the dataset does not ask for names.
        DataError: No sample is usable.
    """
    if config.named is not None and not dataset.names:
        raise ConfigError(f"{config.dataset} does not ask for names: leave named out")
    ordered = list(dataset.samples)
    random.Random(config.seed).shuffle(ordered)
    usable: list[PreparedSample] = []
    unusable: list[Skipped] = []
    unseen: list[Skipped] = []
    remarks: Counter[str] = Counter()

    @cache
    def likeliest(picture: Picture | None) -> list[Name]:
        return likeliest_names(adapter, picture, dataset.names, config.named or 0)

    for sample in ordered:
        if len(usable) == config.limit:
            break
        try:
            encoded = encode_sample(adapter, sample, config.units)
            longest = max(one.length for one in (encoded, encoded.foil) if one is not None)
            if config.max_tokens is not None and longest > config.max_tokens:
                raise SampleError("longer than max_tokens")
            if config.named is not None and (sample.prompt, sample.target) not in likeliest(sample.picture):
                raise SampleError(f"the model finds {config.named} or more other names likelier")
            label = labels_of(sample, encoded.units)
            seen, left_out = seen_words(sample, encoded.units)
            if left_out:
                sample = replace(sample, words=seen)
                encoded = encode_sample(adapter, sample, config.units)
            words = words_of(sample, encoded.units)
        except SampleError as error:
            # Reasons are counted, so they must not name the sample.
            unusable.append(Skipped(sample.uid, str(error).removeprefix(f"sample {sample.uid}: ")))
        except AtmanBenchError:  # of the model, the data or the configuration, so for every sample
            raise
        except Exception as error:  # whatever one sample meets, the others are not to be lost for it
            _LOG.debug("sample %s", sample.uid, exc_info=True)
            unusable.append(Skipped(sample.uid, f"{type(error).__name__}: {one_line(error)}"))
        else:
            n_targets = encoded.target_ids.shape[0]
            usable.append(PreparedSample(sample, label, words, encoded.length, n_targets, config.units, adapter))
            unseen += left_out
            remarks.update(encoded.remarks)
    skipped = _count_reasons((*dataset.skipped, *unusable, *unseen))
    if not usable:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in skipped.items())
        raise DataError(f"no sample of {config.dataset} is usable ({reasons or 'it is empty'})")
    for remark, count in remarks.items():
        _LOG.warning("%d of %d samples of %s: %s", count, len(usable), config.dataset, remark)
    unusable_entries = len(dataset.skipped)
    n_candidates, n_passed_over = len(ordered) + unusable_entries, len(unusable) + unusable_entries
    return Selected(tuple(usable), tuple(unusable), skipped, n_candidates, n_passed_over)


def _count_reasons(skipped: Iterable[Skipped]) -> dict[str, int]:
    """Reason -> count, most frequent first; numbers in a reason belong to one sample and would split the count."""
    return dict(Counter(re.sub(r"\d+", "N", s.reason) for s in skipped).most_common())


def labels_of(sample: Sample, units: Units) -> tuple[float, ...]:
    """The share of each unit that is evidence, as it is stored.

    Raises:
        SampleError: See ``unit_labels``.
    """
    return _stored(unit_labels(sample.label, units, sample.picture))


def seen_words(sample: Sample, units: Units) -> tuple[tuple[Word, ...], list[Skipped]]:
    """The words of a sample whose evidence the units show; the others, by name, with why they are left out.

    Raises:
        SampleError: There are words, and none is left.
    """
    seen, left_out = [], []
    text = sample.prompt + sample.target
    for word in sample.words:
        try:
            unit_labels(word.label, units, sample.picture)
            seen.append(word)
        except SampleError as error:
            name = text[slice(*word.span)]
            left_out.append(Skipped(f"{sample.uid}/{name}", f"word {name!r}: {error}"))
    if left_out and not seen:
        raise SampleError(left_out[0].reason)
    return tuple(seen), left_out


def words_of(sample: Sample, units: Units) -> tuple[tuple[float, ...], ...] | None:
    """The same for each word, or None for a sample without words."""
    if not sample.words:
        return None
    return tuple(_stored(unit_labels(word.label, units, sample.picture)) for word in sample.words)


def _stored(shares: np.ndarray) -> tuple[float, ...]:
    return tuple(int(share) if share in (0, 1) else round(float(share), 6) for share in shares)
