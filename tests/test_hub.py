"""A hub that cannot be reached: said at once, in one line, and without the libraries' own tries."""

import os
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event, Thread

import pytest
from huggingface_hub import constants

from atman_bench.core import hub
from atman_bench.core.errors import DataError
from atman_bench.datasets.squad import SquadConfig
from atman_bench.datasets.squad import load as load_squad


@pytest.fixture
def networked(monkeypatch):
    """An environment that forbids nothing; ``HF_ENDPOINT`` and the cache are the test's."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Refusing(BaseHTTPRequestHandler):
    """A server that is there, and has nothing."""

    def do_HEAD(self):
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


def test_a_hub_that_answers_anything_can_be_reached(networked, monkeypatch):
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        assert hub.why_unreachable() is None
        with hub.offline_where_unreachable("nobody/model"):
            assert not constants.HF_HUB_OFFLINE
        server.shutdown()


def test_where_it_does_not_answer_libraries_are_offline_for_as_long_as_they_load(networked, monkeypatch, closed_port):
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port}")
    assert hub.why_unreachable() == "Connection refused"
    with hub.offline_where_unreachable("nobody/model"):
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


def test_a_connection_that_hangs_is_given_up(networked, monkeypatch):
    monkeypatch.setattr(hub, "TIMEOUT", 0.05)
    asked, given_up = Event(), Event()

    def hang(*_: object, **__: object) -> None:
        asked.set()
        given_up.wait()
        raise OSError("too late")

    monkeypatch.setattr(hub, "urlopen", hang)
    assert hub.why_unreachable() == "no answer within 0.05 s"
    assert asked.wait(10)
    given_up.set()


def test_a_folder_needs_no_hub(networked, monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "why_unreachable", lambda: pytest.fail("asked for a folder"))
    with hub.offline_where_unreachable(tmp_path):
        pass


def test_data_of_a_hub_out_of_reach_fail_without_a_second_try(networked, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "why_unreachable", lambda: "no network")
    with pytest.raises(DataError, match=r"cannot load 'nobody/data'"):
        load_squad(SquadConfig("nobody/data"))
    assert "Retry" not in caplog.text


def test_the_command_line_says_so_before_torch_is_loaded(closed_port, tmp_path):
    code = (
        "import sys\nsys.argv = ['atman-bench', 'explain', '-m', 'nobody/model']\n"
        "from atman_bench.cli.app import main\ntry: main()\nexcept SystemExit as ended: print(ended.code)\n"
        "print('torch' in sys.modules)"
    )
    dropped = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HTTP_PROXY", "http_proxy")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    address = f"http://127.0.0.1:{closed_port}"
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "COLUMNS": "500"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["2", "False"]
    (line,) = done.stderr.splitlines()
    assert f"{address} cannot be reached (Connection refused)" in line
