"""``python -m atman_bench``: the command line."""

from atman_bench.cli.app import main

main()
