"""``gqa``: questions about images, whose words point at boxes (the paper's A.12 and Fig. 17c).

Source: the AtMan paper, A.12; Hudson and Manning 2019 (questions and scene graphs, in the official format).
"""

import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from atman_bench.core.errors import ConfigError, DataError, SampleError
from atman_bench.core.images import picture_size
from atman_bench.core.records import Boxes, Modality, Picture, Sample, Skipped, Word
from atman_bench.datasets._base import Dataset, DatasetSpec
from atman_bench.datasets._json import expect, field, read_json
from atman_bench.datasets._photos import check_threshold, content_hash, data_folder, pattern_in, pictures_below

LAYOUT = "questions/ (*questions*.json), scene_graphs/ or sceneGraphs/ (*sceneGraphs*.json), and images/"

Box = tuple[float, float, float, float]


class ExplainAt(StrEnum):
    """Which words' losses are explained; A.12 does not say whether a word's own or that of what follows it."""

    WORDS = "words"
    OWN_ROWS = "own_rows"
    ANSWER = "answer"
    NOTHING = "nothing"


@dataclass(frozen=True)
class GqaConfig:
    """Options of ``gqa``.

    Attributes:
        data: A folder with questions/, scene_graphs/ (or sceneGraphs/) and images/ in the official formats.
        questions: Which questions to read: a file in that folder, or a folder in it with all files to read.
        template: The prompt, with one ``{question}``.
        balanced_only: Use only the questions that the authors kept when they balanced the answers.
        threshold: A unit is evidence if at least this share of its area is; null keeps the share as a soft label.
        explain_at: ``words`` explains every annotated word of question and answer against its own box, by its own
            loss, which the row before it has; ``own_rows`` explains those of the question by the row of the word
            itself, the loss of what follows it (the other reading of A.12); ``answer`` explains the answer against all
            annotated boxes; ``nothing`` takes every question with an answer and reads no scene graph, to see how many
            the model answers (Table 4).
    """

    data: str | None = None
    questions: str = "questions"
    template: str = "Q: {question} A:"
    balanced_only: bool = True
    threshold: float | None = None
    explain_at: ExplainAt = ExplainAt.WORDS

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: See above.
        """
        check_threshold(self.threshold)
        if (n := self.template.count("{question}")) != 1:
            raise ConfigError(f"template needs {{question}} exactly once, found {n} times in {self.template!r}")


def load(config: GqaConfig) -> Dataset:
    """Read questions, and the boxes of their annotated words from scene graphs; of images only headers are read.

    The target is a space and the short answer; questions of one image form a group. A word without a usable box is
    skipped under ``question id/part[index]``, and its question stays if another word has one. Annotations of
    ``fullAnswer`` and relations between objects are not used.

    Raises:
        ConfigError: No ``data``.
        DataError: The folder or one of its parts is missing or malformed.
    """
    folder = data_folder(config.data, "gqa", LAYOUT)
    question_files = _json_files(folder / pattern_in(config.questions, "questions"), "*question*.json")
    explains = config.explain_at is not ExplainAt.NOTHING
    graph_files = _graph_files(folder) if explains else ()
    graphs = {
        image: graph
        for file in graph_files
        for image, graph in read_json(file, dict, f"a folder with {LAYOUT}").items()
    }
    pictures = pictures_below(folder / "images", LAYOUT)
    scenes = _Scenes(graphs, pictures)
    samples: dict[str, Sample] = {}
    skipped: list[Skipped] = []
    used: list[Path] = []
    for uid, record, where in _records(question_files, config.balanced_only):
        if uid in samples:
            skipped.append(Skipped(uid, "duplicate question id"))
            continue
        entries = (
            _read_question(uid, record, where, scenes, config)
            if explains
            else [_read_unexplained(uid, record, where, pictures, config)]
        )
        for entry in entries:
            if isinstance(entry, Skipped):
                skipped.append(entry)
                continue
            samples[uid] = entry
            used += [entry.picture.path] if entry.picture else []
    if not samples and not skipped:
        hint = "set balanced_only to false for all questions" if config.balanced_only else "check that it is complete"
        raise DataError(f"{folder / config.questions} holds no question to use: {hint}")
    return Dataset(tuple(samples.values()), tuple(skipped), content_hash(folder, (*question_files, *graph_files), used))


def _graph_files(folder: Path) -> Sequence[Path]:
    graph_folders = [folder / name for name in ("scene_graphs", "sceneGraphs")]
    return _json_files(next(filter(Path.exists, graph_folders), graph_folders[0]), "*sceneGraphs*.json")


def _json_files(path: Path, pattern: str) -> Sequence[Path]:
    """A file itself, or those of a folder and the folders in it (large splits come as a folder of chunks)."""
    if path.is_file():
        return [path]
    if not (found := sorted(path.rglob(pattern))):
        raise DataError(f"{path} holds no {pattern}; gqa needs a folder with {LAYOUT}")
    return found


def _records(files: Iterable[Path], balanced_only: bool) -> Iterator[tuple[str, Mapping[str, object], str]]:
    """Id and record of each question to use, and what messages call it."""
    for file in files:
        for uid, record in read_json(file, dict, f"a folder with {LAYOUT}").items():
            where = f"{file}: {uid!r}"
            if not balanced_only or field(record, "isBalanced", bool, where):
                yield uid, expect(record, dict, where), where


@dataclass(frozen=True)
class _Scene:
    """An image with its annotated objects.

    Attributes:
        path: The image.
        size: Its width and height in pixels.
        objects: Object id -> name, box, and more.
    """

    path: Path
    size: tuple[int, int]
    objects: Mapping[str, object]

    def box(self, object_id: str) -> Box:
        """The box of an object, clipped to the image.

        Raises:
            SampleError: There is no such object, or it has no box in the image.
        """
        match self.objects.get(object_id):
            case {
                "x": int() | float() as x,
                "y": int() | float() as y,
                "w": int() | float() as w,
                "h": int() | float() as h,
            }:
                left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, self.size[0]), min(y + h, self.size[1])
            case None:
                raise SampleError("object of a word is not in the scene graph")
            case _:
                raise SampleError("object of a word has no box")
        if not (left < right and top < bottom):
            raise SampleError("box of a word is empty or outside of the picture")
        return left, top, right, bottom


class _Scenes:
    """Scene graphs with their images.

    Args:
        graphs: Image id -> scene graph.
        pictures: Image id -> file.
    """

    def __init__(self, graphs: Mapping[str, object], pictures: Mapping[str, Path]):
        self._graphs = graphs
        self._pictures = pictures
        self._size = cache(picture_size)  # a dozen questions ask about one image

    def get(self, image: str) -> _Scene:
        """An image with its annotated objects.

        Raises:
            SampleError: The image or its scene graph is missing, or they do not belong together.
            DataError: The scene graph is malformed.
        """
        if image not in self._graphs:
            raise SampleError("scene graph is missing")
        if image not in self._pictures:
            raise SampleError("picture file is missing")
        graph, path, where = self._graphs[image], self._pictures[image], f"scene graph {image!r}"
        size = field(graph, "width", int, where), field(graph, "height", int, where)
        if self._size(path) != size:
            raise SampleError("picture is not of its scene graph's size: boxes would be off")
        return _Scene(path, size, field(graph, "objects", dict, where))


@dataclass(frozen=True)
class _Pointer:
    """An annotation: words that name an object.

    Attributes:
        uid: What the words are called where they are skipped.
        text: The question or the answer.
        offset: Where the text starts in prompt + target.
        index: The words, ``"i"`` or ``"i:j"`` (j exclusive).
        object_id: The object.
    """

    uid: str
    text: str
    offset: int
    index: str
    object_id: str

    def span(self) -> tuple[int, int]:
        """Half-open character range of the words in prompt + target, without punctuation around them.

        GQA counts words between white space: checked on its questions, where no comma or question mark is a word.

        Raises:
            SampleError: The text has no such words.
        """
        if not (match := re.fullmatch(r"([0-9]+)(?::([0-9]+))?", self.index)):
            raise SampleError("index of a word is neither i nor i:j")
        words = list(re.finditer(r"\S+", self.text))
        first = int(match[1])
        end = int(match[2]) if match[2] else first + 1
        if not first < end <= len(words):
            raise SampleError("index of a word is out of range")
        phrase = self.text[words[first].start() : words[end - 1].end()]
        if not (bare := phrase.strip(string.punctuation)):
            raise SampleError("annotated word is punctuation")
        start = self.offset + words[first].start() + phrase.index(bare)
        return start, start + len(bare)


def _pointers(
    uid: str, record: Mapping[str, object], where: str, texts: Mapping[str, tuple[str, int]]
) -> list[_Pointer]:
    """The annotations of some parts, each given as its text and offset."""
    annotations = expect(record.get("annotations", {}), dict, f"{where}: 'annotations'")
    return [
        _Pointer(f"{uid}/{part}[{index}]", text, offset, index, expect(object_id, str, f"{where}: {part}[{index}]"))
        for part, (text, offset) in texts.items()
        for index, object_id in expect(annotations.get(part, {}), dict, f"{where}: {part}").items()
    ]


def _read_question(
    uid: str, record: Mapping[str, object], where: str, scenes: _Scenes, config: GqaConfig
) -> Iterator[Sample | Skipped]:
    """The sample of a question, if it makes one, and all that is wrong with it."""
    question, image = field(record, "question", str, where), field(record, "imageId", str, where)
    # The official test splits have neither answers nor annotations.
    answer = expect(record.get("answer", ""), str, f"{where}: 'answer'")
    types = expect(record.get("types", {}), dict, f"{where}: 'types'")
    prompt = config.template.replace("{question}", question)
    texts = {"question": (question, config.template.index("{question}"))}
    own_row = config.explain_at is ExplainAt.OWN_ROWS
    if not own_row:  # the answer's last token predicts nothing that a model reads
        texts["answer"] = answer, len(prompt) + 1
    pointers = _pointers(uid, record, where, texts)
    boxes: dict[tuple[int, int], Box] = {}
    try:
        if not answer.strip():
            raise SampleError("no answer")
        if not pointers:
            raise SampleError("no annotated word")
        scene = scenes.get(image)
        for pointer in pointers:
            try:
                start, end = span = pointer.span()
                if any(start < other[1] and other[0] < end for other in boxes):
                    raise SampleError("annotated words overlap")
                boxes[span] = scene.box(pointer.object_id)
            except SampleError as error:
                yield Skipped(pointer.uid, str(error))
        if not boxes:
            raise SampleError("no annotated word with a box")
    except SampleError as error:
        yield Skipped(uid, str(error))
        return
    words = tuple(Word(span, Boxes((box,), config.threshold), own_row) for span, box in sorted(boxes.items()))
    yield Sample(
        uid=uid,
        prompt=prompt,
        target=" " + answer,
        explain=None,
        label=Boxes(tuple(dict.fromkeys(boxes.values())), config.threshold),
        group=image,
        facts={"type": str(types.get("structural") or types.get("detailed") or "")},
        picture=Picture(scene.path),
        words=() if config.explain_at is ExplainAt.ANSWER else words,
    )


def _read_unexplained(
    uid: str, record: Mapping[str, object], where: str, pictures: Mapping[str, Path], config: GqaConfig
) -> Sample | Skipped:
    """The sample of a question that is only to be answered; it has no evidence."""
    question, image = field(record, "question", str, where), field(record, "imageId", str, where)
    answer = expect(record.get("answer", ""), str, f"{where}: 'answer'")
    if not answer.strip():
        return Skipped(uid, "no answer")
    if image not in pictures:
        return Skipped(uid, "picture file is missing")
    prompt = config.template.replace("{question}", question)
    return Sample(uid, prompt, " " + answer, None, Boxes(()), group=image, picture=Picture(pictures[image]))


SPEC = DatasetSpec(
    summary="Questions whose words point at boxes in the picture, GQA (A.12)",
    config=GqaConfig,
    load=load,
    modality=Modality.IMAGE,
    label=lambda config: {ExplainAt.ANSWER: "at the answer", ExplainAt.OWN_ROWS: "at the words' own rows"}.get(
        config.explain_at, ""
    ),
)
