"""Damaged results, and what names and texts do to the terminal."""

import json

from case import EVAL, Case
from worlds import DOCUMENTS

WRONG_TYPES = {
    "schema": 2,
    **dict.fromkeys(("environments", "sections", "variant", "created", "quiz", "measures", "per_target"), 3),
    **dict.fromkeys(("tables", "verdicts", "notes"), 3),
    **{key: [] for key in ("cells", "identity", "title")},
    **{"uid": [1], "status": "ok", "scores": "abc", "environment": "x", "label": "x", "target_logprobs": {}},
}


def cases_of_stores() -> list[Case]:
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


def cases_of_output() -> list[Case]:
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
        Case("two arguments", "plan tiny-text b", "unexpected"),
        Case("no command", "", "Usage", code=0),
        Case("no command of a group", "data", "Usage", code=0),
    ]
