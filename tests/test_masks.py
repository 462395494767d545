"""Masks are read once for all passes over a sequence, and a sweep never makes the host wait for its device."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import tiny_models
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from atman_bench.attention import flex
from atman_bench.attention.edit import AttentionEdit, Form, Visibility
from atman_bench.attention.masks import Masks
from atman_bench.core.errors import ModelError
from atman_bench.methods import _engine
from atman_bench.methods._engine import EngineOptions, InputEdit, Perturbations, PlainPass, plain_pass, sweep
from atman_bench.models._causal_lm import CausalLM

LENGTH = 10
WINDOWS = {"causal": LENGTH, "sliding": 4}


def whole_mask(window: int) -> Tensor:
    rows, columns = torch.arange(LENGTH)[:, None], torch.arange(LENGTH)[None]
    return ((columns <= rows) & (columns > rows - window))[None, None]


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize(("start", "end"), [(0, LENGTH), (3, LENGTH), (9, LENGTH), (2, 7)])
def test_a_later_pass_sees_what_its_own_mask_shows(window, start, end):
    masks, mask = Masks(), whole_mask(window)
    masks.read(0, mask)
    part = mask[:, :, start:end, :end]
    found, expected = masks.read(0, part), Visibility.of_mask(part)
    assert (found.ends, found.clear) == (expected.ends, expected.clear)
    assert found.visible.equal(expected.visible)
    masks.check()


def test_layers_with_other_masks_are_kept_apart():
    masks = Masks()
    for _ in range(2):
        for layer, window in enumerate(WINDOWS.values()):
            mask = whole_mask(window)
            assert masks.read(layer, mask).clear == Visibility.of_mask(mask).clear
    masks.check()


def test_rows_that_no_pass_had_before_are_read():
    masks, mask = Masks(), whole_mask(LENGTH)
    masks.read(0, mask[:, :, 5:])
    assert masks.read(0, mask).ends == Visibility.of_mask(mask).ends


@pytest.mark.parametrize("changed", [(7, 9), (7, 2)], ids=["one column more is seen", "one column is hidden"])
def test_a_mask_that_is_no_part_of_the_first_is_refused(changed):
    masks, mask = Masks(), whole_mask(LENGTH)
    masks.read(0, mask)
    other = mask.clone()
    other[0, 0, *changed] ^= True
    masks.read(0, other[:, :, 4:])
    with pytest.raises(ModelError, match="what each row sees depends on where a pass starts"):
        masks.check()


class Waits(TorchDispatchMode):
    """Refuses copies between host and device that make the host wait.

    The device is torch's ``meta``, which has no numbers: whoever reads some gets an error anyway.
    """

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_):
            source = args[1] if function.overloadpacket is torch.ops.aten.copy_ else args[0]
            asynchronous = (kwargs or {}).get("non_blocking", False) or True in args[2:]
            assert source.device == result.device or asynchronous, f"{source.shape} copied to {result.device}"
        return result


def test_a_copy_that_waits_is_found():
    with Waits(), pytest.raises(AssertionError, match="copied to meta"):
        torch.ones(2).to("meta")


@contextmanager
def moved_to_meta(name: str) -> Iterator[tuple[CausalLM, PlainPass]]:
    """A model without numbers, and what is known of its plain pass."""
    model = CausalLM(name, tiny_models.build(name), None, name)
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
    plain = plain_pass(model, encoded, EngineOptions())
    model.model.to("meta")
    assert plain.store is not None
    for layer in plain.store.layers:
        layer.keys, layer.values = layer.keys.to("meta"), layer.values.to("meta")
    known = {
        layer: replace(extents, on_device=tuple(t.to("meta") for t in extents.on_device))
        for layer, extents in plain.masks._known.items()
    }
    yield model, replace(plain, masks=Masks(known))


def suppress(length: int) -> AttentionEdit:
    factors = torch.ones(6, length)
    factors[range(6), [0, 3, 8, 12, 19, 20]] = 0.1
    return AttentionEdit(factors, Form.LOG)


def drop(length: int) -> InputEdit:
    kept = torch.ones(3, length, dtype=torch.bool)
    kept[range(3), [2, 7, 19]] = False
    return InputEdit(kept, torch.zeros(32))


def kernel_on_meta(query: Tensor, key: Tensor, value: Tensor, *others: object) -> tuple[Tensor, None]:
    """FlexAttention takes no such device; what is prepared for it is what could wait."""
    return query.new_empty(*query.shape[:-1], value.shape[-1]), None


@pytest.mark.parametrize("kernel", [None, kernel_on_meta], ids=["blocks", "fused"])
@pytest.mark.parametrize("perturb", [suppress, drop])
@pytest.mark.parametrize("name", ["llama", "gemma2", "gptj", "bloom"])
def test_a_sweep_waits_for_its_device_once(monkeypatch: pytest.MonkeyPatch, name, perturb, kernel):
    """Losses of all batches come in one copy, and whether masks were right is asked after it."""
    monkeypatch.setattr(flex, "_refused", [])
    gathered = []

    def gather(parts: list[Tensor]) -> list[Tensor]:
        gathered.append([tuple(part.shape) for part in parts])
        return [torch.zeros(part.shape) for part in parts]

    monkeypatch.setattr(_engine, "_gathered", gather)
    monkeypatch.setattr(Masks, "check", lambda masks: None)
    with moved_to_meta(name) as (model, plain):
        encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
        edit: Perturbations = perturb(encoded.length)
        token = flex.CHOICE.set(lambda inputs: kernel)
        try:
            with Waits():
                sweep(model, encoded, edit, EngineOptions(batch=2), plain)
        finally:
            flex.CHOICE.reset(token)
    assert not flex._refused
    count = len(edit.first_changed())
    assert gathered == [[(2, 3)] * (count // 2) + [(1, 3)] * (count % 2)]
