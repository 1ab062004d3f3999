"""Execute a percent script and write it as a Markdown page with its output.

Usage: python docs/render_notebook.py NOTEBOOK.py FOLDER

Below each code cell stand what it printed, the value of its last expression, and the
figures that it left open, which are closed.
"""

import ast
import contextlib
import html
import io
import os
import sys
from pathlib import Path
from typing import Any

os.environ["MPLBACKEND"] = "Agg"

import jupytext
import matplotlib.pyplot as plt


def execute(source: str, filename: str, namespace: dict[str, Any]) -> Any:
    """Run a cell; the value of its last expression, unless a semicolon follows it."""
    body = ast.parse(source, filename).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), filename, "exec"), namespace)
    if last is None:
        return None
    value = eval(compile(ast.Expression(last.value), filename, "eval"), namespace)
    return None if source.rstrip().endswith(";") else value


def shown(value: Any) -> str:
    """A value as Markdown: its own HTML where it has one, else its text."""
    if value is None or isinstance(value, plt.Artist):
        return ""
    as_html = getattr(value, "_repr_html_", None)
    if as_html is not None:
        return f'<div class="output">{as_html()}</div>\n\n'
    return as_text(repr(value))


def as_text(text: str) -> str:
    return f'<pre class="output">{html.escape(text.rstrip())}</pre>\n\n' if text else ""


def render(notebook: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    namespace: dict[str, Any] = {"__name__": "__main__", "__file__": str(notebook)}
    page, pictures = "", 0
    for cell in jupytext.read(notebook, fmt="py:percent").cells:
        if cell.cell_type != "code":
            page += cell.source + "\n\n"
            continue
        if not cell.source.strip():
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            value = execute(cell.source, str(notebook), namespace)
        page += f"```python\n{cell.source}\n```\n\n" + as_text(printed.getvalue())
        page += shown(value)
        for number in plt.get_fignums():
            pictures += 1
            picture = folder / f"{notebook.stem}-{pictures}.png"
            plt.figure(number).savefig(picture, dpi=120, bbox_inches="tight")
            page += f"![Picture {pictures}]({picture.name})\n\n"
        plt.close("all")
    # Last, since the page stands for the whole folder being complete.
    (folder / f"{notebook.stem}.md").write_text(page)


if __name__ == "__main__":
    render(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
