"""How many questions does a model answer (paper Table 4)? Greedy answers, with or without solved examples before."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from atman_bench.core.errors import ConfigError, DataError, one_line
from atman_bench.core.jsonl import check_writable
from atman_bench.core.options import check_count, identity_options
from atman_bench.core.provenance import environment
from atman_bench.core.records import Sample, Status
from atman_bench.datasets import DATASETS
from atman_bench.datasets._answer_sets import AnsweredDataset
from atman_bench.datasets._base import Dataset
from atman_bench.evaluation.answer_store import Answer, AnswerCell, Quiz
from atman_bench.evaluation.asking import Ask, Describe, Question, ask
from atman_bench.evaluation.config import RunConfig, load_configured, resolve
from atman_bench.evaluation.driver.faults import DeviceFaultError
from atman_bench.evaluation.driver.loop import Driver
from atman_bench.evaluation.driver.report import Progress, Report
from atman_bench.evaluation.driver.work import Lot
from atman_bench.evaluation.remote import ModelFacts, WorkerModel
from atman_bench.metrics._answer_scores import Accuracy

DEFAULTS: Mapping[str, Mapping[str, str]] = {"gqa": {"explain_at": "nothing"}, "scenes": {"task": "questions"}}
"""Options of datasets that differ from their own here: questions need no evidence, and a scene's objects no names."""

VERSION = 1
"""Raised whenever the way to ask changes."""


@dataclass(frozen=True)
class AccuracyConfig:
    """Everything that ``atman-bench accuracy`` can be told.

    Attributes:
        run: Dataset, model, limit, seed and results folder.
        shots: k, the number of solved examples in a prompt.
        max_new_tokens: Longest answer.
    """

    run: RunConfig
    shots: int = 0
    max_new_tokens: int = 16

    def __post_init__(self) -> None:
        """Refuse impossible numbers.

        Raises:
            ConfigError: See above.
        """
        if self.shots < 0:
            raise ConfigError(f"shots must be at least 0, received {self.shots}")
        check_count("max_new_tokens", self.max_new_tokens)


@dataclass(frozen=True)
class AccuracySummary:
    """What a run did.

    Attributes:
        cell: Where the answers are.
        reused: Answers that were stored already.
        computed: Answers of this run by how they ended.
        remaining: Questions that an interrupted run left for the next.
        interrupted: Whether Ctrl-C ended it.
        skipped: Reason -> number of entries of the dataset that are no questions with an answer.
        first_error: Why the first question that failed did so.
    """

    cell: AnswerCell
    reused: int
    computed: Mapping[Status, int]
    remaining: int
    interrupted: bool
    skipped: Mapping[str, int]
    first_error: str | None


def load_accuracy_config(
    flags: Mapping[str, Any], overrides: Sequence[str], shots: int, max_new_tokens: int
) -> AccuracyConfig:
    """Merge flags and then ``--set`` onto the defaults, and check all of it.

    Args:
        flags: Fields of ``RunConfig`` given on the command line; None means not given.
        overrides: ``datasets.NAME.OPTION=value``, the value read as YAML.
        shots: k, the number of solved examples in a prompt.
        max_new_tokens: Longest answer.

    Raises:
        UnknownNameError: A dataset or option does not exist.
        ConfigError: A value has the wrong type or is impossible.
    """
    return AccuracyConfig(resolve({"datasets": DEFAULTS}, flags, overrides), shots, max_new_tokens)


def ask_all(
    config: AccuracyConfig,
    progress: Progress = lambda *_: None,
    *,
    overwrite: bool = False,
    driver: Driver | None = None,
) -> AccuracySummary:
    """Let a model answer a dataset's questions, except those whose answers are stored already.

    Questions come in the seeded order of ``eval``, so that a larger limit keeps those of a smaller one. The k examples
    are the last ones in that order, of k different groups, and none of these groups is asked about.

    Args:
        config: The run.
        progress: Called before each question, or with a driver after each, and once at the end.
        overwrite: Remove the stored answers first.
        driver: Asks on many workers; None in this process.

    Raises:
        StoreError: The results cannot be read or written.
        DataError: The dataset cannot be loaded, or is too small for so many examples.
        ModelError: The model cannot be loaded.
        ConfigError: Examples have pictures, and the model reads only one.
        WorkerError: No worker is left.
        KeyboardInterrupt: It was interrupted before the model was loaded.
    """
    run = config.run
    check_writable(run.results)
    dataset = DATASETS.get(run.dataset).load(run.dataset_options)
    questions, examples = _choose(dataset, config)
    asked = _InProcess(config, examples) if driver is None else _OnWorkers(config, examples, driver)
    if any(example.picture for example in examples) and not asked.model.reads_several_images:
        raise ConfigError(
            f"shots must be 0 for model {asked.model.name!r}, received {config.shots}: examples have pictures, and of "
            "this family only one picture can be given; a model with an image prefix (magma:FOLDER) reads several"
        )
    cell = _cell(config, dataset, asked.model)
    if overwrite:
        cell.clear()
    cell.create(environment(device=asked.model.device, threads=asked.threads))
    finished = {answer.uid for answer in cell.answers() if answer.status is Status.OK}
    right = dataset.answers if isinstance(dataset, AnsweredDataset) else {}
    missing = [
        Question(sample, right.get(sample.uid, (sample.target.strip(),)))
        for sample in questions
        if sample.uid not in finished
    ]
    computed: Counter[Status] = Counter()
    first_error, interrupted = None, False
    with cell.writer() as writer:
        try:
            for answer in asked.answers(missing, progress):
                writer.append(answer)
                computed[answer.status] += 1
                first_error = first_error or answer.error
        except KeyboardInterrupt:
            interrupted = True
    return AccuracySummary(
        cell=cell,
        reused=len(questions) - len(missing),
        computed=computed,
        remaining=len(missing) - computed.total(),
        interrupted=interrupted or computed.total() < len(missing),
        skipped=Counter(skipped.reason for skipped in dataset.skipped),
        first_error=first_error,
    )


class _InProcess:
    """Questions that this process asks."""

    def __init__(self, config: AccuracyConfig, examples: Sequence[Sample]):
        self._config, self._examples = config, examples
        self._adapter = load_configured(config.run)
        self.model = ModelFacts.of(self._adapter)
        self.threads = torch.get_num_threads()

    def answers(self, missing: Sequence[Question], progress: Progress) -> Iterator[Answer]:
        """Ask one after the other."""
        for done, question in enumerate(missing):
            progress(done, len(missing), "answering")
            try:
                answer = ask(self._adapter, question, self._examples, self._config.max_new_tokens)
            except DeviceFaultError as error:
                answer = question.unanswered(Status.ERROR, one_line(error))
            yield answer


class _OnWorkers:
    """Questions that workers ask."""

    def __init__(self, config: AccuracyConfig, examples: Sequence[Sample], driver: Driver):
        model = WorkerModel.of(config.run, driver)
        self._driver, self._work = driver, Ask(model, tuple(examples), config.max_new_tokens)
        self.model = driver.call(Describe(model), None)
        self.threads = driver.threads

    def answers(self, missing: Sequence[Question], progress: Progress) -> Iterator[Answer]:
        """Ask them as workers are free, those with the longest prompts first."""
        report = Report(progress, len(missing), self._driver)
        lot = Lot.longest_first(self._work, missing, lambda question: float(len(question.sample.prompt)))
        for answer in self._driver.run([lot]):
            yield answer
            report("answering", answer.status)


def _choose(dataset: Dataset, config: AccuracyConfig) -> tuple[list[Sample], list[Sample]]:
    """The questions in order, and the examples."""
    ordered = list(dataset.samples)
    random.Random(config.run.seed).shuffle(ordered)
    last_of_group = {sample.group: sample for sample in ordered}
    chosen = sorted(last_of_group.values(), key=ordered.index)[-config.shots :] if config.shots else []
    groups = {example.group for example in chosen}
    questions = [sample for sample in ordered if sample.group not in groups]
    if not questions:
        raise DataError(
            f"{config.run.dataset} has {len(ordered)} questions in {len(last_of_group)} groups: too few for "
            f"{config.shots} examples of other groups than the questions'; use fewer shots or more data"
        )
    return questions[: config.run.limit], chosen


def _cell(config: AccuracyConfig, dataset: Dataset, model: ModelFacts) -> AnswerCell:
    run = config.run
    options = identity_options(run.dataset_options)
    options.pop("data", None)  # The content hash names the data; where they lie may change.
    quiz = Quiz(
        dataset=run.dataset,
        dataset_options=options,
        dataset_hash=dataset.content_hash,
        model=model.name,
        model_hash=model.content_hash,
        dtype=model.dtype,
        shots=config.shots,
        seed=run.seed if config.shots else None,
        max_new_tokens=config.max_new_tokens,
        version=VERSION,
    )
    label = DATASETS.get(run.dataset).label(run.dataset_options)
    voted = isinstance(dataset, AnsweredDataset) and dataset.voted
    return AnswerCell(
        results=run.results,
        quiz=quiz,
        title=f"{run.dataset} ({label})" if label else run.dataset,
        measures=(Accuracy.VQA_ACCURACY,) if voted else (Accuracy.EXACT_MATCH, Accuracy.F1),
    )
