"""How much does the target's loss rise when a unit's embeddings are set to a constant?"""

from dataclasses import dataclass

import torch

from atman_bench import Attribution, MethodSpec, Pass


@dataclass(frozen=True)
class Config:
    """Options of the method.

    Attributes:
        value: What the embeddings are set to.
    """

    value: float = 0.0


def explain(model, encoded, config, seed):
    """Losses (T,) with each unit replaced, minus the plain ones: per_target (T, U)."""
    plain = losses(model, encoded, model.embeddings(encoded))
    changes = []
    for positions in encoded.positions_of_units():
        embeddings = model.embeddings(encoded).clone()
        embeddings[:, positions] = config.value
        changes.append(losses(model, encoded, embeddings) - plain)
    return Attribution.mean_of(torch.stack(changes, dim=1))


@torch.no_grad()
def losses(model, encoded, embeddings):
    """Loss of each target token when the model reads these embeddings."""
    logits = model.run(encoded, Pass(rows=encoded.target_rows.tolist(), embeddings=embeddings))[0]
    targets = encoded.target_ids.to(logits.device)
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")


SPEC = MethodSpec(
    summary="Rise of the loss when a unit's embeddings are set to a constant (example plug-in)",
    version=1,
    config=Config,
    explain=explain,
    forwards=lambda n_units, n_targets, config: n_units + 1,
    default=False,  # runs that name no methods stay as they are
)
