"""What flows into residual streams through attention: how near each part comes to the whole (Ferrando & Voita 2024).

Behind a layer's attention, position i holds the whole m_i: the residual x_i, and of each head h and position j a part
A_h[i, j] O_h V_h norm(x_j), with the norm's scale as a constant and no biases. The proximity of a part p to a whole
w is max(0, |w|_1 - |w - p|_1), and a position's share of a layer is its heads' proximity over that of all parts.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers.pytorch_utils import Conv1D

from atman_bench.attention.edit import AttentionInputs, attend, attention_weights
from atman_bench.core.errors import NotApplicableError
from atman_bench.core.tensors import Encoded
from atman_bench.methods._rules import FrozenNorm, frozen_norm, wide
from atman_bench.models._base import ModelAdapter, Pass


@dataclass(frozen=True)
class LayerFlow:
    """What some rows R of one layer are made of.

    Attributes:
        weights: Attention; times the scale of a norm that its output goes through, where there is one.
        values: Of each key-value head, without what does not depend on the input.
        projection: Of the heads' outputs, one after the other, to the hidden size.
        before: The residual stream before the attention is added.
        whole: And after.
    """

    weights: Float[Tensor, "H R S"]
    values: Float[Tensor, "K S V"]
    projection: Float[Tensor, "HV D"]
    before: Float[Tensor, "R D"]
    whole: Float[Tensor, "R D"]

    def shares(self, weights: Float[Tensor, " R"]) -> Float[Tensor, " S"]:
        """The share of each position in a weighted sum of the rows; with the residual's they add up to 1."""
        whole = weights @ self.whole
        heads = torch.einsum("r,hrs->hs", weights, self.weights)
        shared = len(heads) // len(self.values)
        projections = self.projection.view(len(heads), -1, self.projection.shape[-1])
        total = torch.zeros_like(heads[0])
        for head, (by_position, projection) in enumerate(zip(heads, projections, strict=True)):
            parts = by_position[:, None] * (self.values[head // shared] @ projection)
            total += _proximity(parts, whole)
        everything = total.sum() + _proximity(weights @ self.before, whole)
        return total / everything if everything > 0 else total


def _proximity(part: Tensor, whole: Tensor) -> Tensor:
    return (whole.abs().sum() - (whole - part).abs().sum(-1)).clamp(min=0)


@dataclass(frozen=True)
class Flow:
    """What some rows are made of, in every layer.

    Attributes:
        rows: Positions of the rows, ascending.
        length: S, of the input.
        layers: One each.
    """

    rows: list[int]
    length: int
    layers: Sequence[LayerFlow]

    @torch.no_grad()
    def into(self, weights: dict[int, float]) -> Float[Tensor, " S"]:
        """The share of each position in weighted rows, summed over the layers.

        Args:
            weights: Of rows among ``rows``; those that lie behind the input count nothing.
        """
        vector = torch.tensor([weights.get(row, 0.0) for row in self.rows])
        if not vector.any():
            return torch.zeros(self.length)
        return torch.stack([layer.shares(vector.to(layer.whole)).float().cpu() for layer in self.layers]).sum(0)


@torch.no_grad()
def record_flow(model: ModelAdapter, encoded: Encoded, rows: Sequence[int], method: str) -> Flow:
    """Run a sample, followed by its last target token where a row asks for that, and keep what rows are made of.

    Raises:
        NotApplicableError: The model is no decoder, it cannot run one token more, or a layer does something else than
            add attention to its residual stream.
    """
    if encoded.reading_rows is not None:
        raise NotApplicableError(f"{method} is defined for decoders; {model.name} attends to its image in an encoder")
    rows = sorted(set(rows))
    embeddings = None
    if rows[-1] >= encoded.length:
        if len(encoded.inputs) > 1:
            raise NotApplicableError(
                f"{method} with row=own runs the last target token, which {model.name} cannot add to a sample with an "
                "image; use row=predict"
            )
        last = model.model.get_input_embeddings()(encoded.target_ids[-1:].to(model.device)[None])
        embeddings = torch.cat([model.embeddings(encoded), last], dim=1)
    recorder = _Recorder(model, rows, method)
    with model.host.applied(recorder), recorder.watching():
        model.run(encoded, Pass(rows=rows[-1:], embeddings=embeddings))
        layers = [watched.flow(rows) for watched in recorder.layers]
    return Flow(rows, layers[0].weights.shape[-1], layers)


@dataclass
class _Watched:
    """One layer while its model runs."""

    name: str
    attention: nn.Module
    block: nn.Module
    method: str
    norms: dict[nn.Module, FrozenNorm]
    call: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    inputs: AttentionInputs | None = None
    weights: Tensor = field(default_factory=lambda: torch.empty(0))
    constant: Tensor | None = None
    before: Tensor = field(default_factory=lambda: torch.empty(0))
    after: Tensor = field(default_factory=lambda: torch.empty(0))
    projected: tuple[nn.Module, Tensor] | None = None
    normed: list[tuple[nn.Module, Tensor, Tensor]] = field(default_factory=list)
    added: list[Tensor] = field(default_factory=list)

    def flow(self, rows: list[int]) -> LayerFlow:
        """What the rows are made of, after the pass."""
        if self.inputs is None or self.projected is None:
            raise self._refusal("its attention has no output projection")
        module, output = self.projected
        if not isinstance(module, nn.Linear | Conv1D):
            raise self._refusal(f"the output projection is a {type(module).__name__}")
        quantised = is_traceable_wrapper_subclass(module.weight)
        weight = module.weight.dequantize() if quantised else module.weight
        projection = wide(weight.T if isinstance(module, nn.Linear) else weight)
        weights, contribution = wide(self.weights), output
        for norm, read, given in self.normed:
            if read is output:
                frozen = self.norms[norm]
                if frozen.centred:
                    raise self._refusal("a norm behind its attention subtracts the mean")
                weights = weights * frozen.scale(read[0, rows])[:, 0, None]
                projection = projection if frozen.gain is None else projection * frozen.gain
                contribution = given
        whole = self.before + contribution
        if not self._is_residual(whole):
            raise self._refusal("attention is not simply added to its residual stream")
        values = wide(self.inputs.value[0] - self._constant_values())
        return LayerFlow(weights, values, projection, wide(self.before[0, rows]), wide(whole[0, rows]))

    def _is_residual(self, whole: Tensor) -> bool:
        """Whether the layer goes on with the whole: a norm reads it, or something is added to it."""

        def shaped(parts: Iterable[Tensor]) -> list[Tensor]:  # OPT joins batch and positions
            return [part.reshape(whole.shape) for part in parts if part.numel() == whole.numel()]

        def same(x: Tensor, y: Tensor) -> bool:
            return torch.allclose(x, y, rtol=1e-3, atol=1e-3 * float(y.abs().max()))

        return any(same(read, whole) for read in shaped(read for _, read, _ in self.normed)) or any(
            same(whole + part, self.after) for part in shaped(self.added)
        )

    def _constant_values(self) -> Tensor:
        """Values that do not depend on the input: biases, those of the norm before included."""
        args, arguments = self.call
        hidden = args[0] if args else arguments["hidden_states"]
        before = next((norm for norm, _, given in self.normed if given is hidden), None)
        bias = getattr(before, "bias", None)
        if bias is None and not any("bias" in name for name, _ in self.attention.named_parameters()):
            return torch.zeros_like(self.inputs.value[0])  # type: ignore[union-attr]  # flow has checked it
        own, self.inputs = self.inputs, None
        replaced = torch.zeros_like(hidden) if bias is None else bias.expand_as(hidden)
        if args:
            self.attention(replaced, *args[1:], **arguments)
        else:
            self.attention(**arguments | {"hidden_states": replaced})
        constant: Tensor = self.inputs.value[0]  # type: ignore[attr-defined]  # the call has set it
        self.inputs = own
        return constant

    def _refusal(self, reason: str) -> NotApplicableError:
        return NotApplicableError(f"{self.method} does not know the flow through {self.name}: {reason}")


class _Recorder:
    """Plain attention that keeps what each layer's rows are made of."""

    def __init__(self, model: ModelAdapter, rows: list[int], method: str):
        self.rows = rows
        names = {module: name for name, module in model.model.named_modules()}
        norms = {m: frozen for m in names if (frozen := frozen_norm(m))}
        self.layers = []
        for attention, block in zip(model.host.modules, enclosing_layers(model, method), strict=True):
            inside = {m: norms[m] for m in block.modules() if m in norms}
            label = f"{names[attention]} ({type(attention).__name__}) of {type(model.model).__name__}"
            self.layers.append(_Watched(label, attention, block, method, inside))

    def __call__(self, layer: int, inputs: AttentionInputs) -> tuple[Tensor, None]:
        watched = self.layers[layer]
        watched.inputs = inputs
        watched.weights = attention_weights(inputs.at(self.rows), None)[0]
        return attend(inputs, None), None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hooks that keep what flows through the layers."""
        with ExitStack() as stack:
            for watched in self.layers:
                for handle in _hooks(watched):
                    stack.callback(handle.remove)
            yield


def enclosing_layers(model: ModelAdapter, method: str) -> tuple[nn.Module, ...]:
    """The decoder layer around each attention module: the innermost module around it that stands in a list.

    Raises:
        NotApplicableError: There is none.
    """
    names = {module: name for name, module in model.model.named_modules()}
    layers = []
    for attention in model.host.modules:
        path = names[attention].split(".")
        for depth in reversed(range(1, len(path) + 1)):
            if isinstance(model.model.get_submodule(".".join(path[: depth - 1])), nn.ModuleList):
                layers.append(model.model.get_submodule(".".join(path[:depth])))
                break
        else:
            raise NotApplicableError(f"{method} finds no decoder layer around {names[attention]} of {model.name}")
    return tuple(layers)


def _hooks(watched: _Watched) -> Iterator[Any]:
    def enter_block(_: nn.Module, args: tuple[Any, ...], arguments: dict[str, Any]) -> None:
        watched.before = (args[0] if args else arguments["hidden_states"]).clone()

    def leave_block(_: nn.Module, args: object, output: Any) -> None:
        watched.after = output if isinstance(output, Tensor) else output[0]

    def enter_attention(_: nn.Module, args: tuple[Any, ...], arguments: dict[str, Any]) -> None:
        watched.call = args, arguments
        watched.projected = None

    def leave_linear(module: nn.Module, args: object, output: Any) -> None:
        watched.projected = module, output

    def leave_norm(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        watched.normed.append((module, args[0], output))

    def leave_child(_: nn.Module, args: object, output: Any) -> None:
        if isinstance(output, Tensor):
            watched.added.append(output.clone())  # Falcon overwrites it

    yield watched.block.register_forward_pre_hook(enter_block, with_kwargs=True)
    yield watched.block.register_forward_hook(leave_block)
    yield watched.attention.register_forward_pre_hook(enter_attention, with_kwargs=True)
    for module in watched.attention.modules():
        if getattr(getattr(module, "weight", None), "ndim", 0) == 2 and not list(module.children()):
            yield module.register_forward_hook(leave_linear)
    for module in watched.norms:
        yield module.register_forward_hook(leave_norm)
    for module in watched.block.children():
        yield module.register_forward_hook(leave_child)
