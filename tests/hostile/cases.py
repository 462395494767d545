"""The table of hostile input.

Every case runs in a folder of its own, with the world of ``worlds.py`` in it: ``data/`` (a small valid copy of every
dataset), ``results/`` (of eval), ``answers/`` (of accuracy), ``packed/`` (compacted), ``sections/`` (of reproduce) and
``scale/``.
"""

from case import Case
from input_cases import cases_of_evidence, cases_of_json, cases_of_tables, cases_of_yaml
from leaderboard_cases import LEADERBOARD
from result_cases import cases_of_output, cases_of_stores
from usage_cases import cases_of_bounds, cases_of_options, cases_of_paths, cases_of_workers

CASES = [
    *cases_of_evidence(),
    *cases_of_json(),
    *cases_of_tables(),
    *cases_of_yaml(),
    *cases_of_options(),
    *cases_of_paths(),
    *cases_of_stores(),
    *cases_of_workers(),
    *cases_of_output(),
    *cases_of_bounds(),
    *(Case(name, command, said, dict(files)) for name, command, said, files in LEADERBOARD),
]
