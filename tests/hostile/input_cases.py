"""Hostile input in files of data and configuration."""

from case import EVAL, Case, loader, reader
from worlds import DOCUMENTS, TABLES

BAD_JSON: dict[str, bytes] = {
    "empty": b"",
    "cut off": b'{"a": [1, ',
    "binary": b"\x00\x01\x02",
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a long integer": b'{"a": ' + b"9" * 5000 + b"}",
    "NaN": b'{"a": NaN}',
    "an infinite number": b'{"a": 1e999}',
    "half a surrogate pair": b'{"a": "x\\ud800"}',
    "half a pair as a key": b'{"\\udfff": 1}',
    "a number": b"3",
    "null": b"null",
    "text": b'"[/red]\\u001b[31m"',
}


BAD_YAML: dict[str, bytes] = {
    "cut off": b"methods: [",
    "a list": b"- atman\n- lime\n",
    "a number": b"3",
    "binary": b"\x00\x01",
    "not UTF-8": b"data: \xff\xfe",
    "deep": b"[" * 5000 + b"]" * 5000,
    "deep but read": b"methods: " + b"[" * 60 + b"]" * 60,
    "an alias of itself": b"a: &a [*a]",
    "aliases that double": b"a: &a [1,1]\n"
    + b"".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)},*{chr(97 + i)},*{chr(97 + i)}]\n".encode() for i in range(20)
    ),
    "a long integer": b"limit: " + b"9" * 5000,
    "more than 64 bits": b"seed: 18446744073709551616",
    "no such date": b"data: 2020-13-45",
    "a NUL": b'data: "a\\0b"',
    "half a surrogate pair": b'data: "\\ud800"',
    "an unknown tag": b"data: !!python/object:os.system {}",
    "a list as a key": b"? [1]\n: 2",
    "a number as a key": b"3: 4",
    "markup": b"'[/red]': 1",
    "an escape sequence": b'"\\e[31mred": 1',
}


YAML_SHAPES = {
    "methods: [{atman: {}}]": "methods",
    "methods: {atman: [1]}": "methods.atman must hold options",
    "methods: {atman: {f: {a: 1}}}": "methods.atman.f must be a number",
    "methods: {3: {}}": "methods.3",
    "methods: [[atman]]": "methods",
    "methods: [null]": "methods",
    "methods: 3": "methods must be names",
    "methods: {atman: {3: 1}}": "3",
    "methods: {null: {f: 1}}": "methods",
    "methods: [atman, atman]\nlimit: -1": "limit must be at least 1",
    "datasets: [facts]\nlimit: 0": "limit must be at least 1",
    "datasets: {facts: 3}": "datasets.facts must hold options",
    "datasets: {facts: {n: true}}": "datasets.facts.n must be an integer",
    "datasets: {facts: {n: 1.5}}": "datasets.facts.n must be an integer",
    "datasets: {facts: {n: 100000000000}}": "at most",
    "datasets: {scenes: {n: 100000000000}}\ndataset: scenes": "at most",
    "datasets: {facts: {n: 1.0e+11}}": "datasets.facts.n must be an integer",
    "dataset: [facts]": "unknown dataset",
    "dataset: {facts: 1}": "unknown dataset",
    "dataset: null": "unknown dataset",
    "model: [tiny-text]": "model must be text",
    "model: 3": "model must be text",
    "metrics: auprc": "metrics must be a list",
    "metrics: [3]": "metrics[0] must be text",
    "metrics: [[auprc]]": "metrics[0]",
    "sign: [positive]": "sign",
    "seed: abc": "seed must be an integer",
    "seed: -1": "seed must be",
    "seed: 1.5": "seed must be an integer",
    "seed: true": "seed must be an integer",
    "limit: 2020-01-01": "limit must be an integer",
    "limit: .inf": "limit must be an integer",
    "limit: .nan": "limit must be an integer",
    "limit: !!set {a}": "limit must be an integer",
    "limit: !!binary aGFsbG8=": "limit must be an integer",
    "results: [a]": "results must be a path",
    "results: {}": "results is empty",
    "device: 3": "device must be text",
    "device: meta": "meta",
    "dtype: float8": "unknown value of dtype",
    "grid: {}": "grid is empty",
    "limits: 3": "did you mean 'limit'",
    "data: [1]": "data must be text",
}
"""What a configuration may say, and what ``eval`` answers."""


def cases_of_json() -> list[Case]:
    return [
        Case(f"{file}: {name}", loader(file), file.rpartition("/")[2], {f"data/{file}": content})
        for file in DOCUMENTS
        for name, content in BAD_JSON.items()
    ]


def cases_of_tables() -> list[Case]:
    contents = {
        "empty": b"",
        "binary": b"\x00\x01\n\x00",
        "another header": b"a,b\n1,2\n",
        "one field of 200,000 characters": b"MaskPath," + b"x" * 200_000 + b"\n",
        "a quote that does not end": b'"MaskPath,ImageID\n' * 20_000,
    }
    return [
        Case(f"{file}: {name}", loader(file), file.rpartition("/")[2], {f"data/{file}": content})
        for file in TABLES
        for name, content in contents.items()
    ]


_VALUES = ("a list", "a number", "a number as a key", "a list as a key", "markup", "an escape sequence")
"""Of those, values that are no error where a flag reads one value."""


def cases_of_yaml() -> list[Case]:
    readers = {
        "eval": EVAL + " -c c.yaml",
        "sweep": "sweep -q -c c.yaml",
        "scale": "scale -q --dry-run -c c.yaml",
        "a device": "plan random:10M --device c.yaml",
    }
    found = []
    for which, command in readers.items():
        for name, content in BAD_YAML.items():
            named = "" if name in ("a number as a key", "markup", "an escape sequence") else "c.yaml"
            found.append(Case(f"{which}: YAML, {name}", command, named, {"c.yaml": content}))
    for name, content in BAD_YAML.items():
        if b"\0" not in content and b"\xff" not in content and name not in _VALUES:
            value = content.decode().partition(": ")[2] or content.decode()
            found.append(Case(f"--set: YAML, {name}", EVAL + " --set {}", "", values=(f"limit={value}",)))
            found.append(Case(f"--grid: YAML, {name}", "sweep -q --grid {}", "", values=(f"methods.atman.f={value}",)))
    for text, said in YAML_SHAPES.items():
        short = "" if "limit" in text else "--limit 1 "
        cheap = "" if "methods" in text or "metrics" in text else "--methods uniform "
        found.append(Case(f"eval: {text!r}", f"eval -q {short}{cheap}-c c.yaml", said, {"c.yaml": text}))
    return found


def cases_of_evidence() -> list[Case]:
    """Annotated texts and images, foils, and units."""
    pairs, voc = "data/minimal_pairs/pairs.csv", "data/voc/Annotations/7.xml"
    explain = "explain -p {} -t {} "
    ada = ("Ada lives", " in")
    return [
        Case("minimal_pairs: empty", reader("minimal_pairs"), "pairs.csv", {pairs: b""}),
        Case("minimal_pairs: binary", reader("minimal_pairs"), "no valid CSV", {pairs: b"\xff\x00"}),
        Case("minimal_pairs: other columns", reader("minimal_pairs"), "lacks", {pairs: "a,b\n1,2\n"}),
        Case("minimal_pairs: no such file", f"{EVAL} -d minimal_pairs --data no.csv", "cannot read no.csv"),
        Case(
            "minimal_pairs: no such paradigm",
            f"{EVAL} -d minimal_pairs --data data/minimal_pairs --set datasets.minimal_pairs.paradigms=[x]",
            "unknown paradigm 'x'",
        ),
        Case("hotpotqa: no data", f"{EVAL} -d hotpotqa", "hotpotqa needs data"),
        Case(
            "lambada: passages without rationales",
            reader("lambada"),
            "empty rationale",
            {"data/lambada/lambada.json": '[{"text": "Ada lives in Bern", "rationale": []}]'},
        ),
        Case("needle: 1e11 samples", f"{EVAL} -d needle --set datasets.needle.n=100000000000", "at most"),
        Case("needle: 1e11 words", f"{EVAL} -d needle --set datasets.needle.words=100000000000", "at most"),
        Case("needle: a depth of 2", f"{EVAL} -d needle --set datasets.needle.depths=[2.0]", "depths are shares"),
        *(
            Case(f"voc: {name}", reader("voc"), "annotation is malformed", {voc: content})
            for name, content in {
                "empty": b"",
                "binary": b"\x00\xff",
                "cut off": b"<annotation><object>",
                "entities that double": b'<!DOCTYPE a [<!ENTITY x0 "x">'
                + b"".join(f'<!ENTITY x{i + 1} "&x{i};&x{i};">'.encode() for i in range(40))
                + b"]><a>&x40;</a>",
                "deep": b"<a>" * 100_000,
            }.items()
        ),
        Case("data check: coco without its file", "data check -d coco --data data/voc", "holds no instances*.json"),
        Case("data check: a text that is usable", "data check -d lambada --data data/lambada/lambada.json", "", code=0),
        Case("data check: no such dataset", "data check -d nope", "unknown dataset"),
        Case("coco: a category that it lacks", reader("coco") + " --set datasets.coco.classes=[dog]", "class of coco"),
        Case("eval: units that do not exist", f"{EVAL} --units letter", "unknown value of units"),
        Case("eval: units of images", f"{reader('coco')} --units word", "explains images"),
        Case("explain: units that do not exist", explain + "--units letter", "unknown value of units", values=ada),
        Case("explain: an empty foil", explain + "--foil {}", "--foil is empty", values=(*ada, "")),
        Case(
            "explain: a span for a method that reads one pass",
            explain + "--foil {} --method chefer",
            "chefer explains one token rather than another",
            values=(*ada, " xqzjk" * 9),
        ),
        Case(
            "explain: the target as foil", explain + "--foil {}", "target and foil are the same", values=(*ada, " in")
        ),
        Case(
            "explain: the target with more", explain + "--foil {}", "begins with the other", values=(*ada, " in Bern")
        ),
        Case(
            "explain: a foil for a method that knows none",
            explain + "--foil {} --method rollout",
            "does not explain why",
            values=(*ada, " on"),
        ),
    ]
