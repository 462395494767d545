"""Answers on disk: a folder per dataset × model × number of examples, appended to answer by answer.

``RESULTS/accuracy/<dataset>/<k>-shot-<fingerprint>/`` holds ``about.json`` (what the fingerprint was taken of, and the
environment of the run that created the folder) and ``answers-<writer>.jsonl``. Scores are no part of it: they are
computed from the answers whenever a table is made.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from atman_bench.core.errors import StoreError
from atman_bench.core.jsonl import PartWriter, check_schema, part_files, read_parts, record_of, refuse_in_use
from atman_bench.core.records import SCHEMA, Status
from atman_bench.core.texts import json_text, parse_json
from atman_bench.evaluation.stored import fingerprint_of
from atman_bench.metrics._answer_scores import Accuracy

_ABOUT = "about.json"
_FOLDER = "accuracy"
_KIND = "answers"


@dataclass(frozen=True)
class Answer:
    """What a model answered to one question: a flat line of ``answers-*.jsonl``.

    Attributes:
        uid: The sample's.
        status: How it ended.
        given: The model's answer, empty where it says nothing; None if the status is not ``ok``.
        right: All right answers.
        group: What bootstrap intervals resample.
        error: Why the status is not ``ok``.
    """

    uid: str
    status: Status
    given: str | None
    right: tuple[str, ...]
    group: str
    error: str | None = None
    schema: int = SCHEMA


@dataclass(frozen=True)
class Quiz:
    """Everything that can change answers, and nothing else.

    Attributes:
        dataset: Name of the dataset.
        dataset_options: Its resolved options; where the data lie is left out, ``dataset_hash`` is their content.
        dataset_hash: The dataset's content hash.
        model: What tables call the model.
        model_hash: Content hash of its weights, or the hub revision.
        dtype: Name of the weights' type.
        shots: k, the number of solved examples in a prompt.
        seed: Of the choice of examples, None without any.
        max_new_tokens: Longest answer.
        version: Raised whenever the way to ask changes.
    """

    dataset: str
    dataset_options: Mapping[str, Any]
    dataset_hash: str
    model: str
    model_hash: str
    dtype: str
    shots: int
    seed: int | None
    max_new_tokens: int
    version: int

    @cached_property
    def fingerprint(self) -> str:
        """See ``fingerprint_of``."""
        return fingerprint_of(self)


@dataclass(frozen=True)
class AnswerCell:
    """One folder of answers. Making one touches nothing on disk.

    Attributes:
        results: The results folder.
        quiz: What the answers depend on.
        title: What tables call the dataset.
        measures: How its answers are scored.
    """

    results: Path
    quiz: Quiz
    title: str
    measures: tuple[Accuracy, ...]

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self.results / _FOLDER / self.quiz.dataset / f"{self.quiz.shots}-shot-{self.quiz.fingerprint}"

    def answers(self) -> list[Answer]:
        """One answer per question: one that ended ``ok`` before others, else the latest.

        Raises:
            StoreError: A line is corrupted or of another schema version.
        """
        best: dict[str, Answer] = {}
        for answer in read_parts(self.folder, _KIND, _answer_from_json):
            known = best.get(answer.uid)
            if known is None or answer.status is Status.OK or known.status is not Status.OK:
                best[answer.uid] = answer
        return list(best.values())

    def clear(self) -> None:
        """Remove the answers (``--overwrite``).

        Raises:
            StoreError: They cannot be removed, or another run writes to them.
        """
        refuse_in_use(parts := part_files(self.folder, _KIND))
        try:
            for path in parts:
                path.unlink()
        except OSError as error:
            raise StoreError(f"answers in {self.folder} cannot be removed: {error.strerror}") from error

    def create(self, environment: Mapping[str, Any]) -> None:
        """Make the folder, and say in it what it holds; what is there stays.

        Raises:
            StoreError: It cannot be written to.
        """
        path = self.folder / _ABOUT
        if path.exists():
            return
        about = {
            "schema": SCHEMA,
            "fingerprint": self.quiz.fingerprint,
            "title": self.title,
            "measures": self.measures,
            "quiz": asdict(self.quiz),
            "environment": environment,
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = self.folder / f".{secrets.token_hex(4)}-{_ABOUT}"
            temporary.write_text(json.dumps(about, indent=2, allow_nan=False) + "\n")
            temporary.replace(path)
        except OSError as error:
            raise StoreError(
                f"{self.folder} cannot be written to: {error.strerror}; choose another folder with --results"
            ) from error

    @contextmanager
    def writer(self) -> Iterator["AnswerWriter"]:
        """Begin to write; the part file appears with its first line."""
        parts = PartWriter(self.folder)
        try:
            yield AnswerWriter(parts)
        finally:
            parts.close()


@dataclass(frozen=True)
class AnswerWriter:
    """Appends answers to a part file of this process."""

    parts: PartWriter

    def append(self, answer: Answer) -> None:
        """Write one answer; it is in the file when this returns.

        Raises:
            StoreError: The disk is full or the folder not writable.
        """
        self.parts.write(_KIND, (json_text(asdict(answer)) + "\n").encode())


def answer_cells(results: Path) -> list[AnswerCell]:
    """All folders of answers in a results folder, sorted by their paths.

    Raises:
        StoreError: One of them cannot be read.
    """
    return [_read_cell(results, path) for path in sorted(results.glob(f"{_FOLDER}/*/*/{_ABOUT}"))]


def _read_cell(results: Path, path: Path) -> AnswerCell:
    try:
        about = parse_json(path.read_bytes())
        if not isinstance(about, dict):
            raise TypeError("not an object")
        check_schema(about, str(path))
        return record_of(AnswerCell, {"results": results} | {key: about[key] for key in ("quiz", "title", "measures")})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} cannot be read ({error}): remove its folder, and ask again") from error


def _answer_from_json(content: dict[str, Any]) -> Answer:
    return record_of(Answer, content)
