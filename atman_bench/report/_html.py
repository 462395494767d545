"""HTML pages from the templates beside this module: text is escaped, and nothing is loaded from elsewhere."""

import base64
import json
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["pretty_json"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    return environment


def render(template: str, **values: object) -> str:
    """Fill ``templates/TEMPLATE.html.j2``."""
    return _environment().get_template(f"{template}.html.j2").render(values)


def data_uri(content: bytes, kind: str) -> str:
    """An image as part of the page.

    Args:
        content: Of its file.
        kind: What browsers call it: ``png``, ``svg+xml``.
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
