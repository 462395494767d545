"""Small valid inputs that hostile cases damage: a document of every loader, results of every kind."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from atman_bench.core.jsonl import PartWriter
from atman_bench.evaluation.compaction import compact
from atman_bench.report.page import Section, write
from atman_bench.report.render import TextTable

SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "Ada",
            "paragraphs": [
                {
                    "context": "Ada lives in Bern .",
                    "qas": [
                        {
                            "id": "q1",
                            "question": "Where does Ada live ?",
                            "answers": [{"text": "Bern", "answer_start": 13}],
                        }
                    ],
                }
            ],
        }
    ],
}
VQA_QUESTIONS = {"questions": [{"question_id": 1, "image_id": 7, "question": "What is it ?"}]}
VQA_ANSWERS = {"annotations": [{"question_id": 1, "answers": [{"answer": "a cat"}] * 10}]}
GQA_QUESTIONS = {
    "1": {
        "question": "What is red ?",
        "imageId": "7",
        "answer": "cat",
        "isBalanced": True,
        "types": {"structural": "query"},
        "annotations": {"question": {"2": "9"}},
    }
}
GQA_GRAPHS = {"7": {"width": 8, "height": 8, "objects": {"9": {"name": "cat", "x": 1, "y": 1, "w": 4, "h": 4}}}}
CCP_LABELS = ["null", "coat"]
CCP_AREAS = {"7": {"coat": 0.25}}
CALTECH = [{"image": "7.png", "mask": "7m.png", "class": "cat"}]
LAMBADA = [{"lambadaIndex": 1, "text": "Ada lives in Bern", "rationale": [[0, 3]]}]
HOTPOTQA = [
    {
        "_id": "h1",
        "question": "Where does Ada live ?",
        "answer": "Bern",
        "supporting_facts": [["Ada", 0]],
        "context": [["Ada", ["Ada lives in Bern ."]]],
    }
]
COCO = {
    "images": [{"id": 7, "file_name": "7.png", "width": 8, "height": 8}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 4, 4], "iscrowd": 0}],
}
VOC = (
    "<annotation><size><width>8</width><height>8</height></size><object><name>cat</name>"
    "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></object></annotation>"
)
PAIRS = "one_prefix_prefix,one_prefix_word_good,one_prefix_word_bad,target\nAda and Bo,live,lives,and\n"
OPENIMAGES_CLASSES = "/m/01yrx,Cat\n"
OPENIMAGES_MASKS = (
    "MaskPath,ImageID,LabelName,BoxXMin,BoxXMax,BoxYMin,BoxYMax,BoxID\n7m.png,7,/m/01yrx,0.1,0.9,0.1,0.9,b\n"
)

DOCUMENTS: dict[str, tuple[str, Any]] = {
    "squad/squad.json": ("squad", SQUAD),
    "vqav2/v_questions.json": ("vqav2", VQA_QUESTIONS),
    "vqav2/v_annotations.json": ("vqav2", VQA_ANSWERS),
    "okvqa/v_questions.json": ("okvqa", VQA_QUESTIONS),
    "okvqa/v_annotations.json": ("okvqa", VQA_ANSWERS),
    "gqa/questions/questions.json": ("gqa", GQA_QUESTIONS),
    "gqa/scene_graphs/sceneGraphs.json": ("gqa", GQA_GRAPHS),
    "ccp/labels.json": ("ccp", CCP_LABELS),
    "ccp/pixel_level_areas.json": ("ccp", CCP_AREAS),
    "caltech101/segmented.json": ("caltech101", CALTECH),
    "lambada/lambada.json": ("lambada", LAMBADA),
    "hotpotqa/hotpotqa.json": ("hotpotqa", HOTPOTQA),
    "coco/annotations/instances_val.json": ("coco", COCO),
}
"""File below the folder of all data -> the dataset that reads it, and what it holds."""

TABLES = {
    "openimages/validation-annotations-object-segmentation.csv": OPENIMAGES_MASKS,
    "openimages/class-descriptions.csv": OPENIMAGES_CLASSES,
}
"""The same for CSV files, all of ``openimages``."""

TEXTS = {"voc/Annotations/7.xml": VOC, "minimal_pairs/pairs.csv": PAIRS}
"""The same for other files."""

FILES = {
    "squad": "squad.json",
    "lambada": "lambada.json",
    "hotpotqa": "hotpotqa.json",
    "minimal_pairs": "pairs.csv",
}
"""Datasets of texts, which read one file each, and its name."""

_PICTURES = (
    "coco/val/7.png",
    "voc/JPEGImages/7.png",
    "vqav2/images/x_7.png",
    "okvqa/images/x_7.png",
    "gqa/images/7.png",
    "ccp/images/7.png",
    "ccp/masks/7.png",
    "caltech101/7.png",
    "caltech101/7m.png",
    "openimages/7.png",
    "openimages/7m.png",
)


def write_data(folder: Path) -> None:
    """Write all documents, tables and the pictures that they name."""
    for name, (_, document) in DOCUMENTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(document))
    for name, text in (TABLES | TEXTS).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name in _PICTURES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L" if "m" in Path(name).stem or "masks" in name else "RGB", (8, 8), 1).save(folder / name)


def data_option(dataset: str, folder: Path) -> str:
    """What ``--data`` names for a dataset."""
    return str(folder / dataset / FILES.get(dataset, ""))


SCALE_ROW = {
    "schema": 2,
    "fingerprint": "0",
    "model": "random:10M",
    "dtype": "float32",
    "device": "cpu",
    "threads": 1,
    "method": "atman",
    "variant": "default",
    "tokens": 64,
    "batch": 1,
    "workers": 1,
    "units": 64,
    "status": "ok",
    "parameters": 10,
    "model_bytes": 40,
    "seconds": [1.0],
    "peak_bytes": [100],
    "source": "measured",
}


def write_sections(results: Path) -> None:
    """What ``reproduce`` leaves for the report."""
    table = TextTable("t", "n", ("method", "mAP"), (("atman", "1.0"),), (False,))
    write(results, Section("table1a", "Questions", "Table 1a", "tiny", "atman-bench reproduce", tables=(table,)))


def write_scale(results: Path) -> None:
    """A measured cell."""
    writer = PartWriter(results)
    writer.write("scale", json.dumps(SCALE_ROW).encode() + b"\n")
    writer.close()


def compacted(results: Path) -> None:
    """Turn a results folder into compacted files."""
    compact(results)
