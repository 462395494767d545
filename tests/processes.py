"""What tests run in processes of their own: a module of its own, so that a process imports nothing heavy for it."""

import os
import signal
import time

from atman_bench.profiling.workers import Team


def double(number: int, team: Team) -> int:
    """Wait for the others, then answer with a number that tells which worker this is."""
    team.wait()
    return 2 * number + team.index


def end_as_told(how: str, team: Team) -> None:
    """Let the first worker end, while the others wait for it."""
    if team.index == 0:
        match how:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(3)
            case "sleep":
                time.sleep(60)
    team.wait()
