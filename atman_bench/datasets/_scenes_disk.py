"""Scenes written to disk in the layouts of Open Images (for naming) and of GQA (for questions).

What reads real data then reads scenes too, and is tested by them.
"""

import csv
import json
import tempfile
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atman_bench.core.errors import DataError
from atman_bench.datasets._scenes_world import (
    SIDE,
    Kind,
    Question,
    Scene,
    Shape,
    Split,
    make_scene,
    questions,
    relations,
)

CLASS_IDS = {shape: f"/m/scenes{number:02d}" for number, shape in enumerate(Shape)}
"""What the Open Images files call the shapes."""

_SEGMENTATION_HEADER = "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks\n"
_MAX_QUESTIONS = 4
"""Per image, so that a hundred questions are about many images."""

# GQA's own words for the types of questions: (structural, semantic, detailed).
_GQA_TYPES = {
    Kind.ATTRIBUTE: ("query", "attr", "directOf"),
    Kind.OBJECT: ("query", "cat", "categoryAttr"),
    Kind.EXIST: ("verify", "obj", "existAttr"),
    Kind.RELATION: ("verify", "rel", "relVerify"),
}


def write_once(folder: Path, write: Callable[[Path], None]) -> None:
    """Fill a folder unless it is there; it appears complete or not at all, whatever interrupts this.

    Args:
        folder: The final folder.
        write: Fills the empty folder that it is given.

    Raises:
        DataError: The folder cannot be written.
    """
    if folder.is_dir():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".scenes-") as workspace:
            written = Path(workspace) / folder.name
            written.mkdir()
            write(written)
            # Another process may have been faster: then its folder, with the same content, stays.
            if not folder.is_dir():
                written.rename(folder)
    except OSError as error:
        raise DataError(f"cannot write scenes to {folder} ({error}): set data to a folder that has room") from error


def write_naming(folder: Path, seed: int, split: Split, n: int) -> None:
    """Write scenes with ``n`` annotated objects in the layout of Open Images; the last scene may annotate only some."""
    for part in ("images", "masks"):
        (folder / part).mkdir()
    with (folder / "class-descriptions.csv").open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows((mid, shape.capitalize()) for shape, mid in CLASS_IDS.items())
    rows = islice(_naming_rows(folder, seed, split), n)
    with (folder / "scenes-annotations-object-segmentation.csv").open("w", newline="") as stream:
        stream.write(_SEGMENTATION_HEADER)
        csv.writer(stream, lineterminator="\n").writerows(rows)


def write_questions(folder: Path, seed: int, split: Split, n: int) -> None:
    """Write ``n`` questions, a few per scene, in the layout of GQA.

    Only questions that refer to an object: where there is nothing of what is asked for, nothing is evidence.
    """
    for part in ("images", "questions", "scene_graphs"):
        (folder / part).mkdir()
    records: dict[str, Any] = {}
    graphs: dict[str, Any] = {}
    for image_id, index, scene in _scenes(seed, split):
        if len(records) == n:
            break
        _save_image(scene, folder, image_id)
        graphs[image_id] = _scene_graph(scene)
        rng = np.random.default_rng([seed, list(Split).index(split), index, 1])
        asked = [question for question in questions(scene, rng) if question.words]
        few = min(int(rng.integers(1, _MAX_QUESTIONS + 1)), n - len(records))
        for chosen in rng.permutation(len(asked))[:few]:
            uid = f"scenes-{split}-{seed}-{len(records):05d}"
            records[uid] = _gqa_record(asked[chosen], uid, image_id)
    (folder / "questions" / "scenes_balanced_questions.json").write_text(json.dumps(records))
    (folder / "scene_graphs" / "scenes_sceneGraphs.json").write_text(json.dumps(graphs))


def _scenes(seed: int, split: Split) -> Iterator[tuple[str, int, Scene]]:
    """All scenes of a split without end: the name of the image, the index, the scene."""
    return ((f"scenes-{split}-{seed}-{index:05d}", index, make_scene(seed, split, index)) for index in count())


def _save_image(scene: Scene, folder: Path, image_id: str) -> None:
    # 4:4:4, since halved colour channels would carry an object's colour beyond its mask.
    path = folder / "images" / f"{image_id}.jpg"
    Image.fromarray(scene.image).save(path, quality=95, subsampling=0)


def _naming_rows(folder: Path, seed: int, split: Split) -> Iterator[tuple[object, ...]]:
    """A row per object; saves its mask, and with the first of a scene the image."""
    for image_id, _, scene in _scenes(seed, split):
        _save_image(scene, folder, image_id)
        for number, thing in enumerate(scene.objects):
            mid, box_id = CLASS_IDS[thing.shape], f"{number:08x}"
            mask = f"{image_id}_{mid.replace('/', '')}_{box_id}.png"
            Image.fromarray(thing.mask).save(folder / "masks" / mask)
            left, top, right, bottom = (f"{edge / SIDE:.6f}" for edge in thing.box)
            yield mask, image_id, mid, box_id, left, right, top, bottom, 1.0, ""


def _scene_graph(scene: Scene) -> dict[str, Any]:
    """A scene as GQA's scene graphs have it; objects are named by their index."""
    objects = {}
    for number, thing in enumerate(scene.objects):
        left, top, right, bottom = thing.box
        objects[str(number)] = {
            "name": thing.shape,
            "x": left,
            "y": top,
            "w": right - left,
            "h": bottom - top,
            "attributes": [thing.colour, thing.texture],
            "relations": [
                {"object": str(reference), "name": relation}
                for subject, relation, reference in relations(scene.objects)
                if subject == number
            ],
        }
    return {"width": SIDE, "height": SIDE, "objects": objects}


def _gqa_record(question: Question, uid: str, image_id: str) -> dict[str, Any]:
    structural, semantic, detailed = _GQA_TYPES[question.kind]
    return {
        "question": question.text,
        "imageId": image_id,
        "answer": question.answer,
        "fullAnswer": f"{question.answer.capitalize()}.",
        "annotations": {
            "question": {_token_key(question.text, start, end): str(i) for start, end, i in question.words},
            "answer": {} if question.answer_object is None else {"0": str(question.answer_object)},
            "fullAnswer": {},
        },
        "types": {"structural": structural, "semantic": semantic, "detailed": detailed},
        "isBalanced": True,
        "entailed": [],
        "equivalent": [uid],
    }


def _token_key(text: str, start: int, end: int) -> str:
    """A character range as GQA names it: the index of a word, or a slice of words."""
    first, last = text[:start].count(" "), text[:end].count(" ")
    return str(first) if first == last else f"{first}:{last + 1}"
