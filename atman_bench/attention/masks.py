"""What the masks of a sweep's passes show, read once and not in every pass."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from atman_bench.attention.edit import Visibility, extents
from atman_bench.core.errors import ModelError


@dataclass(frozen=True)
class _Extents:
    """How far the rows of a sequence see, from ``start`` on; see ``Visibility``.

    Attributes:
        start: The first of the rows.
        on_host: ``ends`` and ``clear`` as host integers.
        on_device: Likewise, where the mask is.
    """

    start: int
    on_host: tuple[tuple[int, ...], tuple[int, ...]]
    on_device: tuple[Int[Tensor, " Lq"], Int[Tensor, " Lq"]]

    def cover(self, rows: slice) -> bool:
        """Whether these rows are among them."""
        return self.start <= rows.start and rows.stop <= self.start + len(self.on_host[0])


@dataclass(frozen=True)
class Masks:
    """How far each row sees in each layer, for all passes over one sequence.

    Reading a mask makes the host wait until its device has got that far, and a sweep has hundreds of passes. A pass
    that starts later has the last rows of the whole pass's mask, so only the first mask that a layer is called with is
    read. The others are compared with it on the device, and ``check`` asks once for all of them.
    """

    _known: dict[int, _Extents] = field(default_factory=dict)
    _differ: dict[torch.device, Bool[Tensor, ""]] = field(default_factory=dict)

    def read(self, layer: int, mask: Bool[Tensor, "B 1 Lq Lk"]) -> Visibility:
        """The visibility of a pass's last Lq rows, those of positions Lk - Lq to Lk - 1."""
        length, columns = mask.shape[-2:]
        rows = slice(columns - length, columns)
        now = extents(mask)
        known = self._known.get(layer)
        if known is None or not known.cover(rows):
            on_host = tuple(now[0].tolist()), tuple(now[1].tolist())
            self._known[layer] = _Extents(rows.start, on_host, now)
            return Visibility(mask[0, 0], *on_host)
        part = slice(rows.start - known.start, rows.stop - known.start)
        for found, expected in zip(now, known.on_device, strict=True):
            # A pass that ends earlier has no columns beyond its end.
            differs = (found != expected[part].to(found.device).clamp(max=columns)).any()
            before = self._differ.get(differs.device)
            self._differ[differs.device] = differs if before is None else before | differs
        ends, clear = (tuple(min(column, columns) for column in found[part]) for found in known.on_host)
        return Visibility(mask[0, 0], ends, clear)

    def check(self) -> None:
        """Ask whether all masks were what they were taken for.

        Raises:
            ModelError: One was not.
        """
        if any(bool(differs) for differs in self._differ.values()):
            raise ModelError(
                "the mask of a pass that restarts at a later position is no part of the whole pass's mask: what each "
                "row sees depends on where a pass starts, so that this model is refused"
            )
