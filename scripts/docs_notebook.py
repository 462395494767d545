"""Notebooks: executed in place, and as Markdown pages for the site.

python scripts/docs_notebook.py docs/notebooks/*.ipynb    # run them and store what they print
"""

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TIMEOUT = 120
"""Seconds that a cell may take."""


def execute(path: Path) -> Any:
    """Run a notebook in a fresh kernel.

    Returns:
        The notebook with its outputs; without times, warnings and other metadata, so that a second run of the same code
        changes nothing.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell fails.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", record_timing=False).execute()
    for cell in notebook.cells:
        cell.metadata = nbformat.NotebookNode()
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    return notebook


def as_markdown(path: Path) -> str:
    """A page with the notebook's text, code and stored outputs."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in _parts(cell)) + "\n"


def _parts(cell: Mapping[str, Any]) -> Iterator[str]:
    source = _joined(cell["source"])
    if cell["cell_type"] != "code":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        if output["output_type"] == "stream":
            yield f"```text\n{_joined(output['text']).rstrip()}\n```"
        elif "text/html" in data:
            # Markdown ends an HTML block at an empty line.
            shown = re.sub(r"\n\s*\n", "\n", _joined(data["text/html"]))
            yield f"<div>{shown}</div>"
        elif "image/png" in data:
            yield f'<img alt="figure" src="data:image/png;base64,{_joined(data["image/png"]).strip()}">'
        elif "text/plain" in data:
            yield f"```text\n{_joined(data['text/plain'])}\n```"


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def main() -> None:
    """Execute notebooks and store their outputs."""
    import nbformat

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="+", type=Path)
    for path in parser.parse_args().notebooks:
        nbformat.write(execute(path), path)
        print(path)


if __name__ == "__main__":
    main()
