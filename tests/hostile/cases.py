"""The table of hostile input: a command, what is put where it reads, and what it has to say.

Every case runs in a folder of its own, with the world of ``worlds.py`` in it: ``data/`` (a small valid copy of every
dataset), ``results/`` (of eval), ``answers/`` (of accuracy), ``packed/`` (compacted), ``sections/`` (of reproduce) and
``scale/``.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leaderboard_cases import LEADERBOARD
from worlds import DOCUMENTS, FILES, OPENIMAGES_MASKS, TABLES, data_option

LONG = "n" * 300
SURROGATE = "\udcff"

EVAL = "eval --methods uniform --no-baselines --limit 1 -q"


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        name: What is wrong.
        command: Arguments, split at blanks; ``{}`` takes the next of ``values``.
        said: Part of the one line on stderr; for a command that succeeds, of what it prints ("" for anything).
        files: File -> what is put there before: its content, or a path to link to.
        values: Arguments with blanks or odd characters.
        code: How it ends.
        never: What must not be printed.
    """

    name: str
    command: str
    said: str
    files: dict[str, bytes | str | tuple[str]] = field(default_factory=dict)
    values: tuple[str, ...] = ()
    code: int = 2
    never: str = "\x1b"

    @property
    def arguments(self) -> list[str]:
        values = iter(self.values)
        return [next(values) if part == "{}" else part for part in self.command.split()]


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


def _loader(file: str) -> str:
    dataset = DOCUMENTS[file][0] if file in DOCUMENTS else "openimages"
    return _reader(dataset)


def _reader(dataset: str) -> str:
    model = "" if dataset in FILES else "-m tiny-magma "
    return f"{EVAL} {model}-d {dataset} --data {data_option(dataset, Path('data'))}"


def _cases_of_json() -> list[Case]:
    return [
        Case(f"{file}: {name}", _loader(file), file.rpartition("/")[2], {f"data/{file}": content})
        for file in DOCUMENTS
        for name, content in BAD_JSON.items()
    ]


def _cases_of_tables() -> list[Case]:
    contents = {
        "empty": b"",
        "binary": b"\x00\x01\n\x00",
        "another header": b"a,b\n1,2\n",
        "one field of 200,000 characters": b"MaskPath," + b"x" * 200_000 + b"\n",
        "a quote that does not end": b'"MaskPath,ImageID\n' * 20_000,
    }
    return [
        Case(f"{file}: {name}", _loader(file), file.rpartition("/")[2], {f"data/{file}": content})
        for file in TABLES
        for name, content in contents.items()
    ]


_VALUES = ("a list", "a number", "a number as a key", "a list as a key", "markup", "an escape sequence")
"""Of those, values that are no error where a flag reads one value."""


def _cases_of_yaml() -> list[Case]:
    readers = {
        "eval": EVAL + " -c c.yaml",
        "sweep": "sweep -q -c c.yaml",
        "scale": "scale -q --dry-run -c c.yaml",
        "a device": "plan random:10M --device c.yaml",
    }
    found = []
    for reader, command in readers.items():
        for name, content in BAD_YAML.items():
            named = "" if name in ("a number as a key", "markup", "an escape sequence") else "c.yaml"
            found.append(Case(f"{reader}: YAML, {name}", command, named, {"c.yaml": content}))
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


_TEXT_OPTIONS = {
    "eval": "-m -d --data --methods --metrics --sign -c -r --set --device --dtype --figure-format",
    "sweep": "--grid -c --set -r --data",
    "accuracy": "-m -d --data -r --set",
    "explain": "-p -t -i --explain --method --set --stop --phrases --json --html --png -m --device --include",
    "browse": "--out --methods --metrics --data --tokenizer --sign -d -m",
    "docqa": "--document --question -t --example --template --method --set --json --html --png -m",
    "steer": "-p --amplify --suppress --topic --form --set --json -m",
    "plan": "--methods --device --dtype",
    "scale": "--models --methods --tokens --batches --workers -r -c --simulate",
    "reproduce": "--preset -r --data --text-model --image-model --device",
    "report": "--out --title",
    "table": "--sign --metrics --reference --out --format",
    "maps": "--out --data --methods --uids --sign -d -m",
    "doctor": "-m --device --dtype",
    "data check": "-d --data --set",
    "data select": "--data --out --set",
    "results compact": "--without-maps",
}


def _cases_of_options() -> list[Case]:
    found = []
    for command, options in _TEXT_OPTIONS.items():
        for option in options.split():
            said = "" if option in ("--example", "--format") else "which is no text"
            found.append(
                Case(
                    f"{command} {option}: bytes that are no text",
                    f"{command} {option} {{}}",
                    said,
                    values=(f"a{SURROGATE}b",),
                )
            )
    numbers = {
        "eval": "--limit --seed --max-tokens --named",
        "accuracy": "--shots --max-new-tokens",
        "explain": "--max-new-tokens --seed",
        "docqa": "--max-new-tokens",
        "steer": "--max-new-tokens",
        "scale": "--repeats --time-limit --threads --atman-tokens",
        "maps": "--n",
    }
    for command, options in numbers.items():
        for option in options.split():
            found += [
                Case(f"{command} {option}: {value}", f"{command} {option} {{}}", "", values=(value,))
                for value in ("x", "1e3e", "0x10", "[/red]")
            ]
    return found


PATHS = (
    ("eval -c", EVAL + " -c {}"),
    ("eval --data", EVAL + " -d squad --data {}"),
    ("eval --data of a folder", EVAL + " -d gqa -m tiny-magma --data {}"),
    ("eval -r", EVAL + " -r {}"),
    ("eval -m", EVAL + " -m hf:{}"),
    ("docqa --document", "docqa --question why --document {}"),
    ("explain -i", "explain -m tiny-magma -i {}"),
    ("report", "report {}"),
    ("table", "table {}"),
    ("browse", "browse {}"),
    ("list --include", "list --include {}"),
    ("results compact", "results compact {}"),
    ("maps", "maps {} --out m.png"),
    ("data check", "data check --data {}"),
    ("scale -c", "scale -c {}"),
    ("plan --device", "plan random:10M --device {}"),
    ("plan", "plan {}"),
)


def _cases_of_paths() -> list[Case]:
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "over 255 bytes": (LONG + ".yaml", {}),
        "a link to nothing": ("link.yaml", {"link.yaml": ("nowhere",)}),
        "a link to itself": ("link.yaml", {"link.yaml": ("link.yaml",)}),
        "below a file": ("file/x.yaml", {"file": b""}),
        "markup": ("[/red]no.yaml", {}),
        "an escape sequence": ("\x1b]0;title\x07.yaml", {}),
    }
    found = []
    for reader, command in PATHS:
        for name, (path, files) in kinds.items():
            if reader == "eval -r" and name in ("markup", "an escape sequence"):
                continue  # such a folder can be made
            # Model families take what follows their colon.
            filled = command.replace("hf:{}", "{}")
            value = f"hf:{path}" if "hf:" in command else path
            found.append(Case(f"{reader}: {name}", filled, "", files, (value,)))
    return found


WRONG_TYPES = {
    "schema": 2,
    **dict.fromkeys(("environments", "sections", "variant", "created", "quiz", "measures", "per_target"), 3),
    **dict.fromkeys(("tables", "verdicts", "notes"), 3),
    **{key: [] for key in ("cells", "identity", "title")},
    **{"uid": [1], "status": "ok", "scores": "abc", "environment": "x", "label": "x", "target_logprobs": {}},
}


def _cases_of_stores() -> list[Case]:
    wrong: dict[str, bytes] = {
        "a list": b"[]",
        "a number": b"3",
        "null": b"null",
        "empty": b"",
        "binary": b"\x00\xff",
        "deep": b"[" * 100_000,
        "no fields": b'{"schema": 2}',
        "another version": b'{"schema": 99}',
        "fields of wrong types": json.dumps(WRONG_TYPES).encode(),
        "half a surrogate pair": b'{"schema": 2, "uid": "\\ud800"}',
    }
    readers = {
        "results/manifest": ["table results", "report results", "results compact results", EVAL + " -r results"],
        "results/maps": ["results compact results", EVAL + " -r results"],
        "results/rows": ["table results", EVAL + " -r results"],
        "answers/about": ["accuracy -q --limit 1 -r answers"],
        "answers/answers": ["accuracy -q --limit 1 -r answers"],
        "packed/cells.json": ["table packed", "report packed"],
        "packed/maps.parquet": ["results compact packed"],
        "packed/rows.parquet": ["table packed"],
        "sections/section": ["report sections"],
        "sections/sections.json": ["report sections"],
        "scale/scale": ["scale -q --dry-run -r scale"],
    }
    found = []
    for file, commands in readers.items():
        for name, content in wrong.items():
            for command in commands:
                lines = file.split("/")[1] in ("maps", "rows", "answers", "scale")
                if lines and name == "empty":
                    continue  # a part file may be empty
                said = file.split("/")[1]
                found.append(Case(f"{command}: {file} is {name}", command, said, {f"@{file}": content + b"\n" * lines}))
    return found


ESCAPE = "\x1b]0;owned\x07\x1b[31mred\x1b[8m\x9b31m\u202e"

EXPLAIN = "explain --max-new-tokens 1 -p {}"


def _cases_of_workers() -> list[Case]:
    few = f"{EVAL} --device cpu"
    return [
        Case("workers: options without workers", f"{few} --cpus-per-worker 2", "give --workers N or --ray too"),
        Case("workers: none", f"{few} --workers 0", "greater than or equal to 1"),
        Case("workers: too many", f"{few} --workers 99999999", "workers must be at most 10,000"),
        Case("workers: no time", f"{few} --workers 1 --item-timeout 0", "item_timeout must be more than 0"),
        Case(
            "workers: no number of seconds", f"{few} --workers 1 --item-timeout nan", "item_timeout must be more than 0"
        ),
        Case("workers: half a GPU too many", f"{few} --workers 1 --gpus-per-worker 1.5", "must be a whole number"),
        Case("workers: no number of GPUs", f"{few} --workers 1 --gpus-per-worker nan", "greater than or equal to 0"),
        Case("workers: one GPU by its number", f"{EVAL} --workers 2 --device cuda:1", "workers are given theirs"),
        Case("workers: GPUs that are not there", f"{EVAL} --workers 99 --gpus-per-worker 9", "need 891, this machine"),
        Case("workers: an unknown model", f"{few} --workers 1 --model [/red]", "[/red]"),
    ]


def _cases_of_output() -> list[Case]:
    squad = DOCUMENTS["squad/squad.json"][1]
    odd = (
        json.dumps(squad)
        .replace("q1", ESCAPE.encode("unicode_escape").decode().replace("\\x", "\\u00"))
        .replace('"title": "Ada"', '"title": "[/red]Ada"')
    )
    return [
        Case(
            "explain: a prompt with escape sequences",
            EXPLAIN,
            "\\x1b[31m",
            values=(f"Ada {ESCAPE} lives in Bern .",),
            code=0,
        ),
        Case(
            "explain: the same as JSON",
            EXPLAIN + " --json -",
            "\\u009b",
            values=(f"Ada {ESCAPE} lives in Bern .",),
            code=0,
            never="\x9b",
        ),
        Case("explain: markup in a prompt", EXPLAIN, "[/red]", values=("Ada [/red] lives in [bold]Bern .",), code=0),
        Case(
            "explain: a target with escape sequences",
            EXPLAIN + " -t {}",
            "\\x1b",
            values=("Ada lives in Bern .", " \x1b[8mBern"),
            code=0,
        ),
        Case(
            "docqa: a document with escape sequences",
            "docqa --document d.txt --question {}",
            "\\x1b",
            {"d.txt": f"Ada lives in Bern . {ESCAPE} Bo lives in Rome ."},
            ("Where ?",),
            0,
        ),
        Case(
            "docqa: a question with markup",
            "docqa --document d.txt --question {}",
            "[/red]",
            {"d.txt": "Ada lives in Bern . Bo lives in Rome ."},
            ("Where [/red] ?",),
            0,
        ),
        Case(
            "steer: a prompt with escape sequences",
            "steer --max-new-tokens 1 --amplify Ada=2 -p {}",
            "\\x1b",
            values=(f"Ada {ESCAPE} lives in Bern .",),
            code=0,
        ),
        Case(
            "eval: a results folder with markup",
            EVAL.replace(" -q", "") + " -r {}",
            "[/red]v",
            values=("[/red]v",),
            code=0,
        ),
        Case(
            "accuracy: a results folder with markup",
            "accuracy --limit 1 --max-new-tokens 1 -r {}",
            "[/red]v",
            values=("[/red]v",),
            code=0,
        ),
        Case(
            "scale: a results folder with markup",
            "scale --models random:10M --methods plain:lean --tokens 8 --simulate cpu-24GB -r {}",
            "[/red]v",
            values=("[/red]v",),
            code=0,
        ),
        Case("data check: a folder with markup", "data check --data {}", "[/red]v", values=("[/red]v",)),
        Case(
            "data select: a folder with markup",
            "data select --data data/openimages --set datasets.openimages.min_side=1 --out {}",
            "[/red]v",
            values=("[/red]v",),
            code=0,
        ),
        Case(
            "eval: ids with escape sequences, titles with markup",
            EVAL.replace(" -q", "") + " -d squad --data s.json",
            "",
            {"s.json": odd},
            code=0,
        ),
        Case("report: a title with markup", "report results --out {}", "", values=("[/red].html",), code=0),
        Case("an unknown name with escape sequences", "eval -d {}", "\\x1b[31m", values=(ESCAPE,)),
        Case("an unknown command with escape sequences", "{}", "\\x1b[31m", values=(ESCAPE,)),
        Case("an unknown option", "eval --nope", "No such option"),
        Case("no argument", "plan", "Missing argument"),
        Case("two arguments", "plan a b", "unexpected"),
        Case("no command", "", "Usage", code=0),
        Case("no command of a group", "data", "Usage", code=0),
    ]


def _cases_of_bounds() -> list[Case]:
    huge = "Ada lives in Bern . " * 200_000
    return [
        Case("explain: a prompt of 4 MB", "docqa --document d.txt --question why", "characters", {"d.txt": huge}),
        Case("explain: more tokens than the window", "explain -p {}", "context window", values=("Ada lives . " * 999,)),
        Case("eval: facts of 1e11 questions", EVAL + " --set datasets.facts.n=100000000000", "at most"),
        Case(
            "eval: scenes of 1e11 samples",
            EVAL + " -m tiny-magma -d scenes --set datasets.scenes.n=100000000000",
            "at most",
        ),
        Case(
            "eval: lime with 1e11 samples",
            "eval -q --limit 1 --methods lime --set methods.lime.n_samples=100000000000",
            "at most",
        ),
        Case(
            "eval: kernel_shap with 1e11 samples",
            "eval -q --limit 1 --methods kernel_shap --set methods.kernel_shap.n_samples=100000000000",
            "at most",
        ),
        Case(
            "eval: context_cite with 1e11 samples",
            "eval -q --limit 1 --methods context_cite --set methods.context_cite.n_samples=100000000000",
            "at most",
        ),
        Case(
            "eval: integrated gradients of 1e11 steps",
            "eval -q --limit 1 --methods integrated_gradients --set methods.integrated_gradients.n_steps=100000000000",
            "at most",
        ),
        Case("explain: a part that is none", "explain -p {} --explain question", "valid: START:END", values=("Ada ?",)),
        Case(
            "explain: characters beyond the prompt", "explain -p Ada --explain 0:99", "expected 0 <= start < end <= 3"
        ),
        Case("explain: a context without a question", "explain -p Ada --explain context", "holds no question mark"),
        Case("explain: a chat with a model without template", "explain --chat -p Ada", "no chat template"),
        Case("explain: one of two methods is none", "explain --method atman,atmann", "did you mean 'atman'"),
        Case("explain: an option of another method", "explain --set methods.lime.n_samples=3", "method among those"),
        Case("explain: --stop with a target", "explain -p Ada -t Bob --stop x", "leave it out where a target is given"),
        Case("explain: a folder without a model", "explain -m ./nothing", "no such folder"),
        Case("eval: an option that no method has", EVAL + " --set kapa=1", "unknown option"),
        Case("browse: 0 samples", "browse results --n 0", ""),
        Case("browse: no such tokenizer", "browse results --tokenizer ./nothing", ""),
        Case("list: no such method", "list methods atmann", "did you mean 'atman'"),
        Case("plan: 999999999 tokens", "plan random:10M --tokens 999999999", "at most"),
        Case(
            "plan: a batch of 999999999", "plan random:10M --methods atman --tokens 8 --batch 999999999999999999999", ""
        ),
        Case("scale: 999999999 tokens", "scale -q --dry-run --tokens 999999999", "at most"),
        Case("scale: 999999999 workers", "scale -q --dry-run --workers 999999999", "at most"),
        Case("scale: 999999999 threads", "scale -q --dry-run --threads 999999999", "at most"),
        Case("accuracy: 999999999 examples", "accuracy -q --limit 1 --shots 999999999", "fewer shots"),
        Case("eval: a seed of more than 64 bits", EVAL + " --seed 18446744073709551616", "seed"),
        Case("explain: a seed of more than 64 bits", "explain -p Ada --seed 18446744073709551616", "seed"),
        Case("explain: a seed below 0", "explain -p Ada --method lime --seed -5", "seed"),
        Case("docqa: a seed of more than 64 bits", "docqa --seed 18446744073709551616", "seed"),
        Case("eval: --device meta", EVAL + " --device meta", "meta"),
        Case("explain: --device meta", "explain -p Ada --device meta", "meta"),
        Case("accuracy: --device meta", "accuracy -q --device meta", "meta"),
        Case("doctor: --device meta", "doctor -m tiny-text --device meta", "meta"),
        Case("eval: a device of 300 characters", EVAL + " --device {}", "", values=(LONG,)),
        Case("sweep: an axis twice", "sweep -q --grid methods.atman.f=[0.5] --grid methods.atman.f=[0.9]", "twice"),
        Case("eval: an option twice", EVAL + " --set limit=1 --set limit=2", "twice"),
        Case(
            "vqav2: question_id is true",
            _loader("vqav2/v_questions.json"),
            "should be int, found bool",
            {"data/vqav2/v_questions.json": '{"questions": [{"question_id": true, "image_id": 7, "question": "?"}]}'},
        ),
        Case(
            "vqav2: an absolute file option",
            _loader("vqav2/v_questions.json") + " --set datasets.vqav2.questions=/etc/passwd",
            "questions",
        ),
        Case(
            "vqav2: a file option that climbs",
            _loader("vqav2/v_questions.json") + " --set datasets.vqav2.questions=../*.json",
            "questions",
        ),
        Case(
            "vqav2: an empty file option",
            _loader("vqav2/v_questions.json") + " --set {}",
            "questions",
            values=('datasets.vqav2.questions=""',),
        ),
        Case(
            "vqav2: a file option that is no pattern",
            _loader("vqav2/v_questions.json") + " --set {}",
            "questions",
            values=("datasets.vqav2.questions='**x'",),
        ),
        Case(
            "gqa: an absolute file option",
            _loader("gqa/questions/questions.json") + " --set datasets.gqa.questions=/etc",
            "questions",
        ),
        Case(
            "gqa: an empty file option",
            _loader("gqa/questions/questions.json") + " --set {}",
            "",
            values=('datasets.gqa.questions=""',),
        ),
        Case(
            "caltech101: a file name of over 255 bytes",
            _loader("caltech101/segmented.json"),
            "picture file is missing",
            {"data/caltech101/segmented.json": f'[{{"image": "{LONG}.png", "mask": "7m.png", "class": "c"}}]'},
        ),
        Case(
            "caltech101: a file name with a NUL",
            _loader("caltech101/segmented.json"),
            "picture file is missing",
            {"data/caltech101/segmented.json": '[{"image": "a\\u0000.png", "mask": "7m.png", "class": "c"}]'},
        ),
        Case(
            "caltech101: a picture that is a link to itself",
            _loader("caltech101/segmented.json"),
            "picture file is missing",
            {"data/caltech101/7.png": ("7.png",)},
        ),
        Case(
            "openimages: a mask name of over 255 bytes",
            _loader(next(iter(TABLES))),
            "usable",
            {f"data/{next(iter(TABLES))}": OPENIMAGES_MASKS.replace("7m", LONG)},
        ),
        Case(
            "ccp: a picture that is a link to nothing",
            _loader("ccp/labels.json"),
            "",
            {"data/ccp/images/7.png": ("nowhere",)},
        ),
        Case(
            "vqav2: a picture that is a link to nothing",
            _loader("vqav2/v_questions.json"),
            "",
            {"data/vqav2/images/x_7.png": ("nowhere",)},
        ),
        Case(
            "gqa: a picture that is a link to itself",
            _loader("gqa/questions/questions.json"),
            "",
            {"data/gqa/images/7.png": ("7.png",)},
        ),
    ]


def _cases_of_evidence() -> list[Case]:
    """Annotated texts and images, foils, and units."""
    pairs, voc = "data/minimal_pairs/pairs.csv", "data/voc/Annotations/7.xml"
    explain = "explain -p {} -t {} "
    ada = ("Ada lives", " in")
    return [
        Case("minimal_pairs: empty", _reader("minimal_pairs"), "pairs.csv", {pairs: b""}),
        Case("minimal_pairs: binary", _reader("minimal_pairs"), "no valid CSV", {pairs: b"\xff\x00"}),
        Case("minimal_pairs: other columns", _reader("minimal_pairs"), "lacks", {pairs: "a,b\n1,2\n"}),
        Case("minimal_pairs: no such file", f"{EVAL} -d minimal_pairs --data no.csv", "cannot read no.csv"),
        Case(
            "minimal_pairs: no such paradigm",
            f"{EVAL} -d minimal_pairs --data data/minimal_pairs --set datasets.minimal_pairs.paradigms=[x]",
            "unknown paradigm 'x'",
        ),
        Case("hotpotqa: no data", f"{EVAL} -d hotpotqa", "hotpotqa needs data"),
        Case(
            "lambada: passages without rationales",
            _reader("lambada"),
            "empty rationale",
            {"data/lambada/lambada.json": '[{"text": "Ada lives in Bern", "rationale": []}]'},
        ),
        Case("needle: 1e11 samples", f"{EVAL} -d needle --set datasets.needle.n=100000000000", "at most"),
        Case("needle: 1e11 words", f"{EVAL} -d needle --set datasets.needle.words=100000000000", "at most"),
        Case("needle: a depth of 2", f"{EVAL} -d needle --set datasets.needle.depths=[2.0]", "depths are shares"),
        *(
            Case(f"voc: {name}", _reader("voc"), "annotation is malformed", {voc: content})
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
        Case("coco: a category that it lacks", _reader("coco") + " --set datasets.coco.classes=[dog]", "class of coco"),
        Case("eval: units that do not exist", f"{EVAL} --units letter", "unknown value of units"),
        Case("eval: units of images", f"{_reader('coco')} --units word", "explains images"),
        Case("explain: units that do not exist", explain + "--units letter", "unknown value of units", values=ada),
        Case("explain: an empty foil", explain + "--foil {}", "--foil is empty", values=(*ada, "")),
        Case(
            "explain: a foil of many tokens", explain + "--foil {}", "the foil is no token", values=(*ada, " xqzjk" * 9)
        ),
        Case(
            "explain: a target of many tokens", explain + "--foil {}", "the target is", values=("Ada", " xqzjk", " on")
        ),
        Case("explain: the target as foil", explain + "--foil {}", "the same token", values=(*ada, " in")),
        Case(
            "explain: a foil for a method that knows none",
            explain + "--foil {} --method rollout",
            "does not explain why",
            values=(*ada, " on"),
        ),
    ]


CASES = [
    *_cases_of_evidence(),
    *_cases_of_json(),
    *_cases_of_tables(),
    *_cases_of_yaml(),
    *_cases_of_options(),
    *_cases_of_paths(),
    *_cases_of_stores(),
    *_cases_of_workers(),
    *_cases_of_output(),
    *_cases_of_bounds(),
    *(Case(name, command, said, dict(files)) for name, command, said, files in LEADERBOARD),
]
