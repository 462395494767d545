"""What a sweep leaves out at both ends of a decoder: how much still runs, where nothing may go, the same numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import tiny_models
import tiny_pictures
import torch
from torch import Tensor, nn

from atman_bench.attention.edit import AttentionEdit
from atman_bench.attention.skipping import TokenWise, are_copies
from atman_bench.core.tensors import Encoded
from atman_bench.methods._engine import EngineMode, EngineOptions, InputEdit, Perturbations, sweep
from atman_bench.models._causal_lm import CausalLM

FIRST_THREE = [0, 1, 2]


def encode(model: CausalLM) -> Encoded:
    return model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)


def suppress(encoded: Encoded) -> AttentionEdit:
    """The first three positions, one perturbation each."""
    factors = torch.ones(3, encoded.length)
    factors[FIRST_THREE, FIRST_THREE] = 0.1
    return AttentionEdit(factors)


def drop(encoded: Encoded) -> InputEdit:
    kept = torch.ones(3, encoded.length, dtype=torch.bool)
    kept[FIRST_THREE, FIRST_THREE] = False
    return InputEdit(kept, torch.zeros(32))


@contextmanager
def shapes_into(module: nn.Module) -> Iterator[list[tuple[int, ...]]]:
    """What a module computes: (copies, positions) of each call, after all hooks."""
    shapes: list[tuple[int, ...]] = []
    forward = module.forward

    def note(inputs: Tensor) -> Tensor:
        shapes.append(tuple(inputs.shape[:2]))
        return forward(inputs)

    module.forward = note
    try:
        yield shapes
    finally:
        del module.forward


def shapes_of_sweep(name: str, linear: str, perturbations: Perturbations, mode: EngineMode = EngineMode.FAST):
    """The calls of a linear layer after the plain pass."""
    model = tiny_models.adapter(name)
    with shapes_into(model.model.get_submodule(linear)) as shapes:
        sweep(model, encode(model), perturbations, EngineOptions(mode, batch=3))
    return shapes[1:]


LLAMA = tiny_models.adapter("llama")
S = encode(LLAMA).length


@pytest.mark.parametrize("linear", ["mlp.gate_proj", "mlp.down_proj", "self_attn.q_proj", "self_attn.o_proj"])
def test_the_last_layer_computes_the_target_rows_alone(linear):
    assert shapes_of_sweep("llama", f"model.layers.1.{linear}", suppress(encode(LLAMA))) == [(3, 3)]


@pytest.mark.parametrize("linear", ["layers.0.mlp.gate_proj", "layers.0.self_attn.o_proj", "layers.1.self_attn.k_proj"])
def test_what_later_rows_or_other_copies_need_is_computed_in_full(linear):
    assert shapes_of_sweep("llama", f"model.{linear}", suppress(encode(LLAMA))) == [(3, S)]


@pytest.mark.parametrize("linear", ["attn.k_proj", "mlp.fc_in"])
def test_the_first_parallel_layer_reads_its_input_once_for_all_copies(linear):
    assert shapes_of_sweep("gptj", f"transformer.h.0.{linear}", suppress(encode(LLAMA))) == [(1, S)]


def test_replaced_embeddings_are_no_copies():
    assert shapes_of_sweep("gptj", "transformer.h.0.attn.k_proj", drop(encode(LLAMA))) == [(3, S)]


@pytest.mark.parametrize("linear", ["0.attn.k_proj", "1.mlp.fc_in"])
def test_the_naive_engine_leaves_nothing_out(linear):
    assert shapes_of_sweep("gptj", f"transformer.h.{linear}", suppress(encode(LLAMA)), EngineMode.NAIVE) == [(3, S)]


def test_a_feed_forward_that_is_called_with_flattened_positions_gets_all_of_them():
    assert shapes_of_sweep("opt", "model.decoder.layers.1.fc1", suppress(encode(LLAMA))) == [(3 * S, 32)]


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss"])
def test_experts_are_never_given_fewer_tokens(name):
    model = tiny_models.adapter(name)
    assert TokenWise.beside(model.model.model.layers[1].self_attn, model.model).feed_forward == ()


def test_an_adapter_is_part_of_the_feed_forward():
    model = tiny_pictures.adapter().model
    last = model.transformer.h[-1]
    assert TokenWise.beside(last.attn, model).feed_forward == (last.mlp,)


def test_a_model_without_a_list_of_layers_is_left_alone():
    assert TokenWise.beside(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))) == TokenWise()


def losses(model: CausalLM, encoded: Encoded, perturbations: Perturbations) -> list[Tensor]:
    """Of both engines."""
    modes = (EngineMode.FAST, EngineMode.NAIVE)
    return [sweep(model, encoded, perturbations, EngineOptions(mode, batch=3)).losses for mode in modes]


def test_a_feed_forward_that_serves_two_layers_is_left_alone():
    decoder = tiny_models.build("llama")
    decoder.model.layers[0].mlp = decoder.model.layers[1].mlp
    model = CausalLM("shared", decoder, None, "")
    torch.testing.assert_close(*losses(model, encode(model), suppress(encode(model))), rtol=0, atol=1e-4)


def test_a_module_that_is_called_by_name_is_left_alone():
    decoder = tiny_models.build("llama")
    last = decoder.model.layers[1].mlp
    plain = type(last).__call__
    by_name = type("ByName", (type(last),), {"__call__": lambda self, x: plain(self, x=x)})
    last.__class__ = by_name
    model = CausalLM("by name", decoder, None, "")
    torch.testing.assert_close(*losses(model, encode(model), suppress(encode(model))), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gptj", "bloom"])
@pytest.mark.parametrize("perturb", [suppress, drop])
def test_rows_far_from_each_other_have_the_naive_engines_losses(name, perturb):
    model = tiny_models.adapter(name)
    encoded = replace(encode(model), target_rows=torch.tensor([4, 4, 11, 19]), target_ids=torch.arange(4))
    fast, naive = losses(model, encoded, perturb(encoded))
    torch.testing.assert_close(fast, naive, rtol=0, atol=1e-4)
    assert (fast[0] - fast[1]).abs().max() > 0.01


def test_no_hook_stays_behind_after_an_error():
    model = tiny_models.adapter("gptj")
    before = tiny_models.state_of(model.model)
    with pytest.raises(ZeroDivisionError), model.host.skipping([1], copies=True):
        raise ZeroDivisionError
    assert tiny_models.state_of(model.model) == before


def test_only_views_of_one_item_are_copies():
    assert are_copies(torch.zeros(1, 2).expand(3, 2))
    assert not are_copies(torch.zeros(3, 2))
    assert not are_copies(torch.zeros(1, 2).expand(1, 2))
