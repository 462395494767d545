from types import SimpleNamespace

import psutil
import pytest
import torch
from torch import nn

from atman_bench.core import memory
from atman_bench.core.measure import count_tokens, measure
from atman_bench.core.memory import free_bytes


class Model(nn.Module):
    def forward(self, input_ids=None, inputs_embeds=None):
        return input_ids if inputs_embeds is None else inputs_embeds


def test_positions_are_counted_however_they_come_in():
    model = Model()
    with count_tokens(model) as counter:
        model(input_ids=torch.zeros(2, 5))
        model(inputs_embeds=torch.zeros(3, 4, 8))
        model(torch.zeros(1, 7))
    model(torch.zeros(1, 100))
    assert counter.tokens == 2 * 5 + 3 * 4 + 7


def test_on_cuda_the_peak_is_what_came_on_top_and_time_waits_for_the_device(monkeypatch):
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append("synchronize"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append("reset"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1000)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1750)
    result, cost = measure(lambda: calls.append("run") or 7, Model(), torch.device("cuda"))
    assert (result, cost.peak_bytes) == (7, 750)
    assert calls == ["synchronize", "reset", "run", "synchronize"]


def test_the_cpu_reports_no_peak():
    _, cost = measure(lambda: None, Model(), torch.device("cpu"))
    assert cost.peak_bytes is None


def test_free_memory_of_a_gpu_is_the_drivers_and_what_pytorch_keeps_for_later(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (123, 456))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 70)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 50)
    assert free_bytes(torch.device("cuda")) == 143


@pytest.fixture
def cgroup(monkeypatch, tmp_path):
    """A machine with 1000 bytes available, and the files of a container, which the test writes."""
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000, free=10))
    return tmp_path


def test_free_memory_of_a_cpu_is_what_the_system_can_make_available(cgroup):
    assert free_bytes(torch.device("cpu")) == 1000


@pytest.mark.parametrize(("limit", "free"), [("max", 1000), ("5000", 1000), ("800", 500), ("200", 0)])
def test_free_memory_stays_within_a_containers_limit_where_its_page_cache_is_free(cgroup, limit, free):
    (cgroup / "memory.max").write_text(f"{limit}\n")
    (cgroup / "memory.stat").write_text("anon 300\nfile 400\n")
    assert free_bytes(torch.device("cpu")) == free
