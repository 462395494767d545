"""``atman-bench docqa``: which chunks of a document does the model take its answers from?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import console, echo
from atman_bench.cli._explaining import STDOUT, load_probed, read_overrides, writing
from atman_bench.core.errors import ConfigError, DataError, UnknownNameError
from atman_bench.core.texts import json_text

if TYPE_CHECKING:
    from rich.table import Table

    from atman_bench.api.docqa import DocumentAnswer
    from atman_bench.datasets._documents import Document
    from atman_bench.report.document import DocumentMap


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "docqa",
        epilog=_options.examples(
            "atman-bench docqa --example facts",
            'atman-bench docqa --document contract.txt --question "When does it end?" -m FOLDER --html map.html',
        ),
    )(docqa)


@_options.flags(**_options.LOADING)
def docqa(
    document: Annotated[Path | None, typer.Option("--document", help="A text file; needs --question.")] = None,
    question: Annotated[
        str | None, typer.Option("--question", help="What is asked; default: the example's four questions.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="The answer that is explained; default: the model's own.")
    ] = None,
    example: Annotated[
        str | None, typer.Option("--example", help="contract (of the paper; the default) or facts, for tiny-text.")
    ] = None,
    template: Annotated[
        str | None, typer.Option("--template", help="The prompt, with {context} and {question}.")
    ] = None,
    method: _options.Method = "atman",
    overrides: _options.MethodOverrides = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Longest answer when no target is given.")
    ] = 16,
    json_path: _options.JsonPath = None,
    html_path: Annotated[Path | None, typer.Option("--html", help="Write the highlighted document as a page.")] = None,
    png_path: Annotated[Path | None, typer.Option("--png", help="Write the highlighted document as an image.")] = None,
    seed: _options.Seed = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Cut a document into chunks and highlight those that an answer depends on (A.8, Fig. 16)."""
    source = _document(document, question, target, example)  # what is wrong with it is said before torch is loaded

    from atman_bench.api.docqa import DocumentOptions, ask
    from atman_bench.report.heatmap_page import to_html
    from atman_bench.report.heatmap_png import to_png
    from atman_bench.report.heatmap_terminal import to_terminal

    options = DocumentOptions(template or source.template, method, read_overrides(overrides), seed or 0, max_new_tokens)
    loaded = load_probed(flags)
    answers = [ask(loaded, source.text, asked, options) for asked in source.questions]
    caption = f"{loaded.name} · {answers[0].explanation.method} {answers[0].explanation.variant}"

    data = json_text(_as_dict(caption, answers), indent=2)
    if json_path == STDOUT:
        echo(data)
    else:
        out = console()
        for answer in answers:
            out.print(to_terminal(_maps(caption, source, [answer])))
            out.print()
        out.print(_summary(answers))
    with writing():
        if json_path not in (None, STDOUT):
            Path(json_path).write_text(data + "\n", encoding="utf-8")
        maps = _maps(caption, source, answers)
        if html_path is not None:
            html_path.write_text(to_html([(caption, maps)]), encoding="utf-8")
        if png_path is not None:
            to_png(maps, png_path)


def _document(path: Path | None, question: str | None, target: str | None, example: str | None) -> "Document":
    """What is asked about which text; a user's own question comes without evidence.

    Raises:
        ConfigError: Options contradict each other.
        DataError: The file cannot be read.
    """
    from dataclasses import replace

    from atman_bench.datasets import _documents
    from atman_bench.datasets._squad_format import PAPER_TEMPLATE

    if target is not None and question is None:
        raise ConfigError("--target answers one question: give --question too")
    if path is not None and example is not None:
        raise ConfigError("--document and --example are two documents: give one of them")
    if path is not None and question is None:
        raise ConfigError("--document comes without questions: give --question")
    if example is not None and example not in list(_documents.Example):
        raise UnknownNameError("example", example, (e.value for e in _documents.Example))
    if path is None:
        source = _documents.example(_documents.Example(example or _documents.Example.CONTRACT))
    else:
        source = _documents.Document(_read(path), PAPER_TEMPLATE, ())
    if question is None:
        return source
    return replace(source, questions=(_documents.DocumentQuestion(question, target, None),))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; --document takes a text file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}); convert it") from error


def _maps(caption: str, source: "Document", answers: Sequence["DocumentAnswer"]) -> "DocumentMap":
    import numpy as np

    from atman_bench.report.document import document_map

    return document_map(
        caption=caption,
        document=source.text,
        chunks=answers[0].chunks,
        questions=tuple(answer.question for answer in answers),
        answers=tuple(answer.target for answer in answers),
        scores=np.array([answer.scores for answer in answers], np.float32),
    )


def _summary(answers: Sequence["DocumentAnswer"]) -> "Table":
    """Make the table of all questions: what stands out, and whether it should."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from atman_bench.api.docqa import relative_maximum

    table = Table(
        "question",
        "answer",
        "highest chunk",
        "evidence",
        box=box.SIMPLE_HEAD,
        caption_justify="left",
        caption="own: whether the model says this answer itself · log p: of the whole answer · largest: score of the "
        "highest chunk (for AtMan the rise of the loss), for a question that the document does not answer relative to "
        "the mean over those that it answers",
    )
    for name in ("own", "log p", "largest"):
        table.add_column(name, justify="right")
    for answer in answers:
        if answer.expected is None:
            evidence = "not known"
        elif answer.expected:
            evidence = f"rank {answer.rank} of {len(answer.chunks)}"
        else:
            evidence = "none in the document"
        largest = f"{max(answer.scores):.3g}"
        if answer.expected == () and (share := relative_maximum(answer, answers)) is not None:
            largest += f" ({share:.0%})"
        table.add_row(
            Text(answer.question),
            Text(answer.target.strip()),
            Text(answer.texts[answer.highest].strip()),
            evidence,
            "yes" if answer.explanation.answered else "no",
            f"{sum(answer.explanation.target_logprobs):.2f}",
            largest,
        )
    return table


def _as_dict(caption: str, answers: Sequence["DocumentAnswer"]) -> dict[str, Any]:
    from atman_bench.api.docqa import relative_maximum

    return {
        "caption": caption,
        "chunks": [
            {"text": text, "span": span} for text, span in zip(answers[0].texts, answers[0].chunks, strict=True)
        ],
        "questions": [
            {
                "question": answer.question,
                "target": answer.target,
                "answered": answer.explanation.answered,
                "target_logprob": sum(answer.explanation.target_logprobs),
                "scores": answer.scores,
                "highest": answer.highest,
                "expected": answer.expected,
                "rank": answer.rank,
                "relative_maximum": relative_maximum(answer, answers) if answer.expected == () else None,
            }
            for answer in answers
        ],
    }
