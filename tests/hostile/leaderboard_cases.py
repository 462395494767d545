"""Hostile input of faithfulness, the leaderboard and sanity checks."""

import json
from typing import Any

RUN: dict[str, Any] = {
    "schema": 2,
    "name": "x",
    "dataset": "facts",
    "model": "tiny-text",
    "sign": "positive",
    "note": "",
    "uids": ["q"],
    "fingerprints": ["0"],
    "n_candidates": 1,
    "n_passed_over": 0,
    "skipped": {},
    "measures": ["lds"],
}
PLACE = "results/leaderboard/x/run.json"
PAGE = "leaderboard page results"

LEADERBOARD: list[tuple[str, str, str, dict[str, bytes | str]]] = [
    ("a measure that does not exist", "faithfulness --methods uniform -n 1 -q --measures nope", "unknown measure", {}),
    ("measures that are empty", "faithfulness --methods uniform -n 1 -q --measures lds,", "takes names by commas", {}),
    ("a leaderboard that nobody ran", PAGE, "no leaderboard in results", {}),
    ("a leaderboard of a folder that is not there", "leaderboard page nowhere", "no leaderboard in nowhere", {}),
    ("a run of the leaderboard that is cut off", PAGE, "is damaged", {PLACE: b'{"schema": 2, '}),
    (
        "a run of the leaderboard of another version",
        PAGE,
        "has schema version",
        {PLACE: json.dumps({**RUN, "schema": 9})},
    ),
    ("a run of the leaderboard that lacks its samples", PAGE, "is damaged", {PLACE: json.dumps({**RUN, "uids": None})}),
    ("a run of the leaderboard without its cells", PAGE, "lacks the maps of cell 0", {PLACE: json.dumps(RUN)}),
    ("no such configuration", "leaderboard run leaderbord-facts -q", "unknown preset", {}),
    ("a note that is no text", "leaderboard run x.yaml -q", "note must be text", {"x.yaml": "note: [1]"}),
    (
        "costs of no sample",
        "leaderboard run x.yaml -q",
        "cost_samples must be at least 1",
        {"x.yaml": "cost_samples: 0"},
    ),
    ("a misspelt key", "leaderboard run x.yaml -q", "unknown option 'nots'", {"x.yaml": "nots: a"}),
    ("sanity of no model", "sanity nothing -q", "unknown model", {}),
    ("sanity of no sample", "sanity tiny-text -n 0 -q", "limit must be at least 1", {}),
]
"""What is wrong, the command, what it has to say, and what is put where it reads."""
