"""The key-value store that lets every perturbation restart from the first position it changes."""

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class _StoreLayer(CacheLayerMixin):
    """All keys and values of one layer, (B, K, S, D), preallocated and written in place.

    Sliding layers keep everything too: transformers' own sliding cache forgets the keys that a later restart needs, and
    the mask hides them from whoever must not see them.
    """

    is_sliding = False

    def __init__(self, capacity: int):
        super().__init__()
        self.capacity = capacity
        self.start = 0
        self.batch = 1

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys = key_states.new_empty(*key_states.shape[:2], self.capacity, key_states.shape[3])
        self.values = value_states.new_empty(*value_states.shape[:2], self.capacity, value_states.shape[3])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.start + key_states.shape[2]
        self.keys[: self.batch, :, self.start : end] = key_states
        self.values[: self.batch, :, self.start : end] = value_states
        return self.keys[: self.batch, :, :end], self.values[: self.batch, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.start + query_length, 0

    def get_seq_length(self) -> int:
        return self.start

    def get_max_length(self) -> int:
        return -1


class PrefixStore(Cache):
    """Keys and values of one plain pass over S positions, copied to B rows that perturbations overwrite.

    Runs must come with descending starts: every position before the current start is then still plain in every row, so
    the prefix is copied once and never again.
    """

    def __init__(self, n_layers: int, capacity: int):
        super().__init__(layers=[_StoreLayer(capacity) for _ in range(n_layers)])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row over all layers."""
        return sum(
            t[:1].numel() * t.element_size()
            for layer in self.layers
            if layer.is_initialized
            for t in (layer.keys, layer.values)
        )

    def copy(self) -> "PrefixStore":
        """A store of its own with the same keys and values, to be overwritten."""
        other = PrefixStore(len(self.layers), self.layers[0].capacity)
        for mine, its in zip(self.layers, other.layers, strict=True):
            if mine.is_initialized:
                its.keys, its.values, its.is_initialized = mine.keys.clone(), mine.values.clone(), True
        return other

    def expand(self, batch: int) -> None:
        """Copy the plain pass to ``batch`` rows; the plain row becomes the first of them."""
        for layer in self.layers:
            if layer.is_initialized and batch > layer.keys.shape[0]:
                layer.keys = layer.keys[:1].expand(batch, -1, -1, -1).contiguous()
                layer.values = layer.values[:1].expand(batch, -1, -1, -1).contiguous()

    def restart(self, start: int, batch: int) -> None:
        """Let the next pass write ``batch`` rows from position ``start`` on."""
        for layer in self.layers:
            layer.start, layer.batch = start, batch
