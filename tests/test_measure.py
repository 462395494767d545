import torch
from torch import nn

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


def test_free_memory_of_a_gpu_is_the_drivers(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (123, 456))
    assert free_bytes(torch.device("cuda")) == 123
