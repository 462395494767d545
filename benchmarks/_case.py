"""One prompt with its target, cut to a number of tokens: what every cell of a benchmark measures."""

from dataclasses import dataclass

from atman_bench import load_model
from atman_bench.core.tensors import Encoded
from atman_bench.datasets.facts import FactsConfig, load
from atman_bench.methods.atman import AtManConfig, Suppression, suppressor
from atman_bench.models._base import ModelAdapter

TARGET_TOKENS = 3


@dataclass(frozen=True)
class Case:
    """One prompt with its target.

    Attributes:
        model: The adapter.
        encoded: Prompt and target.
        tokens: Length of the prompt; every token is a unit here, also one that is only a space.
        prompt: The prompt as text, for libraries that tokenise themselves.
        target: The target as text.
    """

    model: ModelAdapter
    encoded: Encoded
    tokens: int
    prompt: str
    target: str

    def suppression(self, every: int = 1) -> Suppression:
        """Form ``shifted``, row minimum ``visible``, f = 0.9, kappa none; one perturbation per token, or every n-th."""
        positions = [[position] for position in range(0, self.tokens, every)]
        return suppressor(self.model, self.encoded, AtManConfig())(positions)


def make_case(model_name: str, tokens: int) -> Case:
    """A prompt of exactly ``tokens`` tokens from the generated facts, and the first ``TARGET_TOKENS`` of a target.

    Raises:
        SystemExit: None could be cut to that length.
    """
    model = load_model(model_name, device="cpu")
    text = " ".join(sample.prompt for sample in load(FactsConfig(n=40)).samples)
    tokenizer = model.tokenizer
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    prompt = text[: offsets[tokens - 1][1]]
    for target in (" 12 May 1931 and then some more", " Raven Lake and then some more"):
        ids = tokenizer(target, add_special_tokens=False)["input_ids"][:TARGET_TOKENS]
        encoded = model.encode_text(prompt, tokenizer.decode(ids))
        # Not so where a token is only a part of a letter, or the prompt's last token grows into the target.
        if encoded.length == tokens + TARGET_TOKENS - 1 and len(encoded.target_ids) == TARGET_TOKENS:
            return Case(model, encoded, tokens, prompt, tokenizer.decode(ids))
    raise SystemExit(f"no prompt of {tokens} tokens with a target of {TARGET_TOKENS} could be cut; try another length")
