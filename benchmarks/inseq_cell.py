"""What inseq takes for the case of ``run.py``: prints one line of JSON. Runs in inseq's own environment.

    .venv-inseq/bin/python benchmarks/inseq_cell.py MODEL TOKENS THREADS occlusion SHARE
    .venv-inseq/bin/python benchmarks/inseq_cell.py MODEL TOKENS THREADS integrated_gradients STEPS

inseq's defaults are kept: it explains one target token after the other, and earlier ones count as input. Occlusion
hides ``SHARE`` tokens at a time instead of one, and its time is scaled by the forward passes that one at a time takes.
"""

import argparse
import json
import time
from importlib.metadata import version

import inseq
import torch
from _case import TARGET_TOKENS, Case, make_case

from atman_bench.profiling.memory import watch_resident


def attribution_model(case: Case, method: str) -> inseq.AttributionModel:
    """The case's model as inseq wraps it, which asks for special tokens that our embedded models do without."""
    tokenizer, config = case.model.tokenizer, case.model.model.config
    some_id = tokenizer.pad_token_id or 0
    for name in ("bos", "eos", "pad"):
        if getattr(config, f"{name}_token_id") is None:
            setattr(config, f"{name}_token_id", some_id)
        if getattr(tokenizer, f"{name}_token") is None:
            setattr(tokenizer, f"{name}_token", tokenizer.convert_ids_to_tokens(some_id))
    return inseq.load_model(case.model.model, method, tokenizer=tokenizer, device="cpu")


def main() -> None:
    """Measure time, then peak memory in a run of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("tokens", type=int)
    parser.add_argument("threads", type=int)
    parser.add_argument("method", choices=["occlusion", "integrated_gradients"])
    parser.add_argument("amount", type=int, help="tokens hidden at a time, or steps of the integral")
    parser.add_argument("--peak", action="store_true", help="measure peak memory and not time")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    case = make_case(arguments.model, arguments.tokens)
    wrapped = attribution_model(case, arguments.method)
    options: dict[str, object] = {"n_steps": arguments.amount}
    if arguments.method == "occlusion":
        window = (arguments.amount, wrapped.get_embedding_layer().embedding_dim)
        options = {"sliding_window_shapes": window, "strides": window}
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    def attribute() -> inseq.FeatureAttributionOutput:
        return wrapped.attribute(case.prompt, case.prompt + case.target, show_progress=False, **options)

    case.model.model(input_ids=case.encoded.inputs["input_ids"][:, :1])
    if arguments.peak:
        with watch_resident() as peak:
            attribute()
        print(json.dumps({"peak_bytes": peak.bytes}))
        return
    handle = case.model.model.register_forward_pre_hook(count)
    started = time.perf_counter()
    found = attribute()
    seconds = time.perf_counter() - started
    handle.remove()
    if (found[0].attr_pos_start, found[0].attr_pos_end) != (arguments.tokens, arguments.tokens + TARGET_TOKENS):
        raise SystemExit("inseq cut the prompt into other tokens than this suite")
    if arguments.method == "occlusion":
        # For each target a plain pass, and one for every position before it.
        seconds *= sum(1 + arguments.tokens + target for target in range(TARGET_TOKENS)) / passes
    print(json.dumps({"seconds": seconds, "version": version("inseq")}))


if __name__ == "__main__":
    main()
