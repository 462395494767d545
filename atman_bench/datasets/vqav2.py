"""``vqav2``: questions about images that ten people answered, without ground truth for explanations (Table 4).

Source: Goyal et al. 2017, in the official format, which OK-VQA has too (``okvqa``).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from atman_bench.core.errors import ConfigError, DataError
from atman_bench.core.records import Boxes, Modality, Picture, Sample, Skipped
from atman_bench.datasets._answer_sets import AnsweredDataset
from atman_bench.datasets._base import DatasetSpec
from atman_bench.datasets._json import expect, field, read_json
from atman_bench.datasets._photos import content_hash, data_folder, only_file, pictures_below

LAYOUT = "one *questions*.json and one *annotations*.json of the official format, and images/"

FEWEST_ANSWERS = 4
"""With fewer, no answer is fully right: three people besides the one left out have to give it."""


@dataclass(frozen=True)
class VqaConfig:
    """Options of ``vqav2`` and ``okvqa``.

    Attributes:
        data: A folder with questions, annotations and images/ in the official formats.
        questions: Which questions file to read: its name, or a pattern that fits no other file in the folder.
        annotations: Likewise, the file with the answers.
        template: The prompt, with one ``{question}``.
    """

    data: str | None = None
    questions: str = "*questions*.json"
    annotations: str = "*annotations*.json"
    template: str = "Q: {question} A:"

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: See above.
        """
        if (n := self.template.count("{question}")) != 1:
            raise ConfigError(f"template needs {{question}} exactly once, found {n} times in {self.template!r}")


def load(config: VqaConfig) -> AnsweredDataset:
    """Read questions and what people answered; images are not opened.

    The target is a space and the answer that most people gave (the earliest of several); questions of one image form
    a group. Images are found by the number at the end of their names (``COCO_val2014_000000262148.jpg``).

    Raises:
        ConfigError: No ``data``.
        DataError: The folder or one of its parts is missing, ambiguous or malformed.
    """
    folder = data_folder(config.data, "vqav2", LAYOUT)
    files = (
        only_file(folder, config.questions, "questions", LAYOUT),
        only_file(folder, config.annotations, "annotations", LAYOUT),
    )
    answers = dict(_answers(files[1]))
    pictures = {
        int(digits): path
        for stem, path in pictures_below(folder / "images", LAYOUT).items()
        if (digits := stem.rpartition("_")[2]).isdecimal()
    }
    samples: dict[str, Sample] = {}
    skipped: list[Skipped] = []
    for number, image, question in _questions(files[0]):
        uid, given = str(number), answers.get(number, ())
        if uid in samples:
            skipped.append(Skipped(uid, "duplicate question id"))
        elif len(given) < FEWEST_ANSWERS:
            skipped.append(Skipped(uid, f"fewer than {FEWEST_ANSWERS} people answered"))
        elif not (most := Counter(given).most_common(1)[0][0].strip()):
            skipped.append(Skipped(uid, "empty answer"))
        elif image not in pictures:
            skipped.append(Skipped(uid, "picture file is missing"))
        else:
            samples[uid] = Sample(
                uid=uid,
                prompt=config.template.replace("{question}", question),
                target=f" {most}",
                explain=None,
                label=Boxes(()),
                group=str(image),
                picture=Picture(pictures[image]),
            )
    if not samples and not skipped:
        raise DataError(f"{files[0]} holds no question: check that the file is complete")
    used = {sample.picture.path for sample in samples.values() if sample.picture is not None}
    return AnsweredDataset(
        tuple(samples.values()),
        tuple(skipped),
        content_hash(folder, files, used),
        answers={uid: answers[int(uid)] for uid in samples},
        voted=True,
    )


def _entries(file: Path, key: str) -> Iterator[tuple[Mapping[str, object], str]]:
    """The entries of a list in a file, and what messages call each."""
    for i, entry in enumerate(field(read_json(file, dict, f"a folder with {LAYOUT}"), key, list, str(file))):
        where = f"{file}: {key}[{i}]"
        yield expect(entry, dict, where), where


def _questions(file: Path) -> Iterator[tuple[int, int, str]]:
    """Id, image and text of each question."""
    for entry, where in _entries(file, "questions"):
        yield (
            field(entry, "question_id", int, where),
            field(entry, "image_id", int, where),
            field(entry, "question", str, where),
        )


def _answers(file: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """What people answered, by the id of the question."""
    for entry, where in _entries(file, "annotations"):
        given = field(entry, "answers", list, where)
        texts = tuple(field(answer, "answer", str, f"{where}.answers[{i}]") for i, answer in enumerate(given))
        yield field(entry, "question_id", int, where), texts


SPEC = DatasetSpec(
    summary="Questions about pictures with ten answers each, VQAv2: for accuracy (Table 4)",
    config=VqaConfig,
    load=load,
    modality=Modality.IMAGE,
)
