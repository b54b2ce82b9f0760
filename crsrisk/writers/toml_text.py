"""Text as TOML writes it."""

import json


def quoted(text: str) -> str:
    r"""A text in quotes, as a key or a value of TOML; a basic string of JSON is one of TOML.

    >>> print(quoted('CRP "new" (mg/dL)'))
    "CRP \"new\" (mg/dL)"
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
