"""Hostile options, paths, numbers of workers, and sizes."""

from typing import Any

from case import EVAL, Case, loader
from worlds import OPENIMAGES_MASKS, TABLES

LONG = "n" * 300


SURROGATE = "\udcff"


_TEXT_OPTIONS = {
    "eval": "-m -d --data --methods --metrics --sign -c -r --set --device --dtype --figure-format",
    "sweep": "--grid -c --set -r --data",
    "accuracy": "-m -d --data -r --set",
    "explain": "-p -t -i --explain --method --set --stop --phrases --json --html --png -m --device --include",
    "browse": "--out --methods --metrics --data --tokenizer --sign -d -m",
    "docqa": "--document --question -t --example --template --method --set --json --html --png -m",
    "steer": "-p --amplify --suppress --topic --form --set --json -m",
    "plan": "--methods --device --dtype",
    "scale": "--models --methods --tokens --batches --workers -r -c --simulate",
    "reproduce": "--preset -r --data --text-model --image-model --device",
    "report": "--out --title",
    "table": "--sign --metrics --reference --out --format",
    "maps": "--out --data --methods --uids --sign -d -m",
    "doctor": "-m --device --dtype",
    "data check": "-d --data --set",
    "data select": "--data --out --set",
    "results compact": "--without-maps",
}


def cases_of_options() -> list[Case]:
    found = []
    for command, options in _TEXT_OPTIONS.items():
        for option in options.split():
            said = "" if option in ("--example", "--format") else "which is no text"
            found.append(
                Case(
                    f"{command} {option}: bytes that are no text",
                    f"{command} {option} {{}}",
                    said,
                    values=(f"a{SURROGATE}b",),
                )
            )
    numbers = {
        "eval": "--limit --seed --max-tokens --named",
        "accuracy": "--shots --max-new-tokens",
        "explain": "--max-new-tokens --seed",
        "docqa": "--max-new-tokens",
        "steer": "--max-new-tokens",
        "scale": "--repeats --time-limit --threads --atman-tokens",
        "maps": "--n",
    }
    for command, options in numbers.items():
        for option in options.split():
            found += [
                Case(f"{command} {option}: {value}", f"{command} {option} {{}}", "", values=(value,))
                for value in ("x", "1e3e", "0x10", "[/red]")
            ]
    return found


PATHS = (
    ("eval -c", EVAL + " -c {}"),
    ("eval --data", EVAL + " -d squad --data {}"),
    ("eval --data of a folder", EVAL + " -d gqa -m tiny-magma --data {}"),
    ("eval -r", EVAL + " -r {}"),
    ("eval -m", EVAL + " -m hf:{}"),
    ("docqa --document", "docqa --question why --document {}"),
    ("explain -i", "explain -m tiny-magma -i {}"),
    ("report", "report {}"),
    ("table", "table {}"),
    ("browse", "browse {}"),
    ("list --include", "list --include {}"),
    ("results compact", "results compact {}"),
    ("maps", "maps {} --out m.png"),
    ("data check", "data check --data {}"),
    ("scale -c", "scale -c {}"),
    ("plan --device", "plan random:10M --device {}"),
    ("plan", "plan {}"),
)


def cases_of_paths() -> list[Case]:
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "over 255 bytes": (LONG + ".yaml", {}),
        "a link to nothing": ("link.yaml", {"link.yaml": ("nowhere",)}),
        "a link to itself": ("link.yaml", {"link.yaml": ("link.yaml",)}),
        "below a file": ("file/x.yaml", {"file": b""}),
        "markup": ("[/red]no.yaml", {}),
        "an escape sequence": ("\x1b]0;title\x07.yaml", {}),
    }
    found = []
    for reader, command in PATHS:
        for name, (path, files) in kinds.items():
            if reader == "eval -r" and name in ("markup", "an escape sequence"):
                continue  # such a folder can be made
            # Model families take what follows their colon.
            filled = command.replace("hf:{}", "{}")
            value = f"hf:{path}" if "hf:" in command else path
            found.append(Case(f"{reader}: {name}", filled, "", files, (value,)))
    return found


def cases_of_workers() -> list[Case]:
    few = f"{EVAL} --device cpu"
    return [
        Case("workers: options without workers", f"{few} --cpus-per-worker 2", "give --workers N or --ray too"),
        Case("workers: none", f"{few} --workers 0", "greater than or equal to 1"),
        Case("workers: too many", f"{few} --workers 99999999", "workers must be at most 10,000"),
        Case("workers: no time", f"{few} --workers 1 --item-timeout 0", "item_timeout must be more than 0"),
        Case(
            "workers: no number of seconds", f"{few} --workers 1 --item-timeout nan", "item_timeout must be more than 0"
        ),
        Case("workers: half a GPU too many", f"{few} --workers 1 --gpus-per-worker 1.5", "must be a whole number"),
        Case("workers: no number of GPUs", f"{few} --workers 1 --gpus-per-worker nan", "greater than or equal to 0"),
        Case("workers: one GPU by its number", f"{EVAL} --workers 2 --device cuda:1", "workers are given theirs"),
        Case("workers: GPUs that are not there", f"{EVAL} --workers 99 --gpus-per-worker 9", "need 891, this machine"),
        Case("workers: an unknown model", f"{few} --workers 1 --model [/red]", "[/red]"),
    ]


def cases_of_bounds() -> list[Case]:
    huge = "Ada lives in Bern . " * 200_000
    return [
        Case("explain: a prompt of 4 MB", "docqa --document d.txt --question why", "characters", {"d.txt": huge}),
        Case("explain: more tokens than the window", "explain -p {}", "context window", values=("Ada lives . " * 999,)),
        Case("eval: facts of 1e11 questions", EVAL + " --set datasets.facts.n=100000000000", "at most"),
        Case(
            "eval: scenes of 1e11 samples",
            EVAL + " -m tiny-magma -d scenes --set datasets.scenes.n=100000000000",
            "at most",
        ),
        Case(
            "eval: lime with 1e11 samples",
            "eval -q --limit 1 --methods lime --set methods.lime.n_samples=100000000000",
            "at most",
        ),
        Case(
            "eval: kernel_shap with 1e11 samples",
            "eval -q --limit 1 --methods kernel_shap --set methods.kernel_shap.n_samples=100000000000",
            "at most",
        ),
        Case(
            "eval: context_cite with 1e11 samples",
            "eval -q --limit 1 --methods context_cite --set methods.context_cite.n_samples=100000000000",
            "at most",
        ),
        Case(
            "eval: integrated gradients of 1e11 steps",
            "eval -q --limit 1 --methods integrated_gradients --set methods.integrated_gradients.n_steps=100000000000",
            "at most",
        ),
        Case("explain: a part that is none", "explain -p {} --explain question", "valid: START:END", values=("Ada ?",)),
        Case(
            "explain: characters beyond the prompt", "explain -p Ada --explain 0:99", "expected 0 <= start < end <= 3"
        ),
        Case("explain: a context without a question", "explain -p Ada --explain context", "holds no question mark"),
        Case("explain: a chat with a model without template", "explain --chat -p Ada", "no chat template"),
        Case("explain: one of two methods is none", "explain --method atman,atmann", "did you mean 'atman'"),
        Case("explain: an option of another method", "explain --set methods.lime.n_samples=3", "method among those"),
        Case("explain: --stop with a target", "explain -p Ada -t Bob --stop x", "leave it out where a target is given"),
        Case("explain: a folder without a model", "explain -m ./nothing", "no such folder"),
        Case("eval: an option that no method has", EVAL + " --set kapa=1", "unknown option"),
        Case("browse: 0 samples", "browse results --n 0", ""),
        Case("browse: no such tokenizer", "browse results --tokenizer ./nothing", ""),
        Case("list: no such method", "list methods atmann", "did you mean 'atman'"),
        Case("plan: 999999999 tokens", "plan random:10M --tokens 999999999", "at most"),
        Case(
            "plan: a batch of 999999999", "plan random:10M --methods atman --tokens 8 --batch 999999999999999999999", ""
        ),
        Case("scale: 999999999 tokens", "scale -q --dry-run --tokens 999999999", "at most"),
        Case("scale: 999999999 workers", "scale -q --dry-run --workers 999999999", "at most"),
        Case("scale: 999999999 threads", "scale -q --dry-run --threads 999999999", "at most"),
        Case("accuracy: 999999999 examples", "accuracy -q --limit 1 --shots 999999999", "fewer shots"),
        Case("eval: a seed of more than 64 bits", EVAL + " --seed 18446744073709551616", "seed"),
        Case("explain: a seed of more than 64 bits", "explain -p Ada --seed 18446744073709551616", "seed"),
        Case("explain: a seed below 0", "explain -p Ada --method lime --seed -5", "seed"),
        Case("docqa: a seed of more than 64 bits", "docqa --seed 18446744073709551616", "seed"),
        Case("eval: --device meta", EVAL + " --device meta", "meta"),
        Case("explain: --device meta", "explain -p Ada --device meta", "meta"),
        Case("accuracy: --device meta", "accuracy -q --device meta", "meta"),
        Case("doctor: --device meta", "doctor -m tiny-text --device meta", "meta"),
        Case("eval: a device of 300 characters", EVAL + " --device {}", "", values=(LONG,)),
        Case("sweep: an axis twice", "sweep -q --grid methods.atman.f=[0.5] --grid methods.atman.f=[0.9]", "twice"),
        Case("eval: an option twice", EVAL + " --set limit=1 --set limit=2", "twice"),
        Case(
            "vqav2: question_id is true",
            loader("vqav2/v_questions.json"),
            "should be int, found bool",
            {"data/vqav2/v_questions.json": '{"questions": [{"question_id": true, "image_id": 7, "question": "?"}]}'},
        ),
        Case(
            "vqav2: an absolute file option",
            loader("vqav2/v_questions.json") + " --set datasets.vqav2.questions=/etc/passwd",
            "questions",
        ),
        Case(
            "vqav2: a file option that climbs",
            loader("vqav2/v_questions.json") + " --set datasets.vqav2.questions=../*.json",
            "questions",
        ),
        Case(
            "vqav2: an empty file option",
            loader("vqav2/v_questions.json") + " --set {}",
            "questions",
            values=('datasets.vqav2.questions=""',),
        ),
        Case(
            "vqav2: a file option that is no pattern",
            loader("vqav2/v_questions.json") + " --set {}",
            "questions",
            values=("datasets.vqav2.questions='**x'",),
        ),
        Case(
            "gqa: an absolute file option",
            loader("gqa/questions/questions.json") + " --set datasets.gqa.questions=/etc",
            "questions",
        ),
        Case(
            "gqa: an empty file option",
            loader("gqa/questions/questions.json") + " --set {}",
            "",
            values=('datasets.gqa.questions=""',),
        ),
        Case(
            "caltech101: a file name of over 255 bytes",
            loader("caltech101/segmented.json"),
            "picture file is missing",
            {"data/caltech101/segmented.json": f'[{{"image": "{LONG}.png", "mask": "7m.png", "class": "c"}}]'},
        ),
        Case(
            "caltech101: a file name with a NUL",
            loader("caltech101/segmented.json"),
            "picture file is missing",
            {"data/caltech101/segmented.json": '[{"image": "a\\u0000.png", "mask": "7m.png", "class": "c"}]'},
        ),
        Case(
            "caltech101: a picture that is a link to itself",
            loader("caltech101/segmented.json"),
            "picture file is missing",
            {"data/caltech101/7.png": ("7.png",)},
        ),
        Case(
            "openimages: a mask name of over 255 bytes",
            loader(next(iter(TABLES))),
            "usable",
            {f"data/{next(iter(TABLES))}": OPENIMAGES_MASKS.replace("7m", LONG)},
        ),
        Case(
            "ccp: a picture that is a link to nothing",
            loader("ccp/labels.json"),
            "",
            {"data/ccp/images/7.png": ("nowhere",)},
        ),
        Case(
            "vqav2: a picture that is a link to nothing",
            loader("vqav2/v_questions.json"),
            "",
            {"data/vqav2/images/x_7.png": ("nowhere",)},
        ),
        Case(
            "gqa: a picture that is a link to itself",
            loader("gqa/questions/questions.json"),
            "",
            {"data/gqa/images/7.png": ("7.png",)},
        ),
    ]
