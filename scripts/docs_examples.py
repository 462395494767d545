"""An extension of griffe, which reads docstrings for the site: it knows ``Examples:``, and ``Example:`` not."""

import re
from typing import Any

import griffe


class SingularExamples(griffe.Extension):
    """Read ``Example:`` as a section of doctests."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section of an object that has one."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
