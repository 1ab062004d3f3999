"""Pieces of a page that needs nothing but itself."""

import base64
import html
import io
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 72rem; margin: 2rem auto; padding: 0 1.2rem; }}
h1 {{ font-size: 1.6rem; margin-bottom: .2rem; }}
h2 {{ font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .85rem; }}
th, td {{ padding: .25rem .7rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid #e3e3e3; }}
th {{ background: #f4f4f4; font-weight: 600; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }}
.mark {{ display: inline-block; padding: 0 .5rem; border-radius: .25rem; color: #fff;
  font-weight: 600; white-space: nowrap; }}
.ok {{ background: #00664b; }} .warn {{ background: #8a5a00; }}
.fail {{ background: #a33d00; }} .none {{ background: #595959; }}
.pictures {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
figure {{ margin: 0; flex: 0 1 30rem; }}
img {{ max-width: 100%; height: auto; }}
figcaption, .small {{ font-size: .85rem; color: #444; }}
pre {{ white-space: pre-wrap; font: inherit; margin: .3rem 0; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
MARKS = {"ok": "ok", "warn": "warn", "fail": "fail", "not applicable": "none"}
DPI = 110


def page(title: str, parts: list[str]) -> str:
    """Returns a whole page."""
    return PAGE.format(title=html.escape(title), body="\n".join(parts))


def section(title: str, *parts: str) -> str:
    """Returns a heading with what belongs to it."""
    return "\n".join([f"<h2>{html.escape(title)}</h2>", *parts])


def text(words: str, *, small: bool = False) -> str:
    """Returns a paragraph that keeps its line breaks."""
    name = ' class="small"' if small else ""
    return f"<pre{name}>{html.escape(words)}</pre>"


def mark(status: str) -> str:
    """Returns a status as a coloured word."""
    return f'<span class="mark {MARKS[status]}">{html.escape(status)}</span>'


def table(frame: pd.DataFrame) -> str:
    """Returns a table whose numbers have four digits and whose statuses are marked."""
    frame = frame.reset_index()
    head = "".join(f"<th>{html.escape(_heading(name))}</th>" for name in frame.columns)
    rows = ["".join(_cell(value) for value in row) for row in frame.to_numpy(object)]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>\n{body}</table></div>'


def picture(ax: "Axes", words: str) -> str:
    """Returns a figure as a picture within the page, and closes it."""
    import matplotlib.pyplot as plt

    data = io.BytesIO()
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("These axes belong to no figure.")
    figure.savefig(data, format="png", dpi=DPI)
    plt.close(figure)
    coded = base64.b64encode(data.getvalue()).decode()
    caption = html.escape(words)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{coded}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _heading(name: object) -> str:
    return "" if name == "index" else str(name)


def _cell(value: object) -> str:
    if isinstance(value, float | int | np.number) and not isinstance(value, bool):
        return f'<td class="number">{_number(float(value))}</td>'
    words = str(value)
    return f"<td>{mark(words) if words in MARKS else html.escape(words)}</td>"


def _number(value: float) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
