"""One question to a model, and what it answers; in this process, or as the work of many workers."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from atman_bench.core.errors import SampleError, one_line
from atman_bench.core.memory import is_device_fault, is_out_of_memory
from atman_bench.core.records import Picture, Sample, Status
from atman_bench.evaluation.answer_store import Answer
from atman_bench.evaluation.driver.faults import DeviceFaultError, Fault
from atman_bench.evaluation.remote import ModelFacts, WorkerModel
from atman_bench.models._base import ModelAdapter
from atman_bench.models._parts import EmptyCompletionError
from atman_bench.models._picture_lm import PictureLM

_LOG = logging.getLogger(__name__)

NEXT_QUESTION = "Q:"
"""A base model goes on with a question of its own; the answer ends there."""


@dataclass(frozen=True)
class Question:
    """A question, and all right answers to it."""

    sample: Sample
    right: tuple[str, ...]

    def unanswered(self, status: Status, reason: str) -> Answer:
        """Why there is no answer."""
        return Answer(self.sample.uid, status, None, self.right, self.sample.group, reason)


@dataclass(frozen=True)
class Describe:
    """The work of saying what a model is."""

    model: WorkerModel

    def run(self, loaded: ModelAdapter, sample: None) -> ModelFacts:
        """What it is."""
        return ModelFacts.of(loaded)

    def failed(self, sample: None, fault: Fault) -> ModelFacts:
        """Without a model nothing is asked.

        Raises:
            AtmanBenchError: What the worker said.
        """
        raise fault.error()


@dataclass(frozen=True, eq=False)
class Ask:
    """The work of asking questions.

    Attributes:
        model: The model.
        examples: Solved examples before each question.
        max_new_tokens: Longest answer.
    """

    model: WorkerModel
    examples: tuple[Sample, ...]
    max_new_tokens: int

    def run(self, loaded: ModelAdapter, sample: Question) -> Answer:
        """Ask one.

        Raises:
            DeviceFaultError: See ``ask``.
        """
        return ask(loaded, sample, self.examples, self.max_new_tokens)

    def failed(self, sample: Question, fault: Fault) -> Answer:
        """An answer that says why there is none."""
        return sample.unanswered(Status.ERROR, fault.message)


def ask(adapter: ModelAdapter, question: Question, examples: Sequence[Sample], max_new_tokens: int) -> Answer:
    """What a model answers to one question.

    Raises:
        DeviceFaultError: The device reports an error that sticks to this process.
    """
    sample = question.sample
    try:
        given = short_answer(complete_after(adapter, sample, examples, max_new_tokens))
    except EmptyCompletionError:
        given = ""
    except SampleError as error:
        return question.unanswered(Status.SKIPPED, one_line(error))
    except Exception as error:  # whatever one question meets, the others are not to be lost for it
        _LOG.debug("question %s", sample.uid, exc_info=True)
        if is_device_fault(error):
            raise DeviceFaultError(one_line(error)) from error
        return question.unanswered(Status.OOM if is_out_of_memory(error) else Status.ERROR, one_line(error))
    return Answer(sample.uid, Status.OK, given, question.right, sample.group)


def complete_after(adapter: ModelAdapter, sample: Sample, examples: Sequence[Sample], max_new_tokens: int) -> str:
    """The greedy completion of a sample's prompt after solved examples, each with its picture and on its own line.

    Raises:
        EmptyCompletionError: It is empty.
        SampleError: The prompt exceeds the context window, or a picture cannot be read.
    """
    solved = [(example.picture, f"{example.prompt}{example.target}\n") for example in examples]
    if isinstance(adapter, PictureLM):
        parts: list[str | Picture] = []
        for picture, text in (*solved, (sample.picture, sample.prompt)):
            parts += [text] if picture is None else [picture, text]
        return adapter.complete_parts(parts, max_new_tokens)
    return adapter.complete("".join(text for _, text in solved) + sample.prompt, max_new_tokens, sample.picture)


def short_answer(completion: str) -> str:
    """A completion up to the next question that the model makes up."""
    return completion.partition(NEXT_QUESTION)[0].strip()
