"""The first program that a reader sees runs as it stands."""

import contextlib
import io
import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_example_of_the_readme_runs_and_prints_both_summaries():
    program = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "README.md", "exec"), {})
    assert "members, one point each" in printed.getvalue()
    assert "r_hat" in printed.getvalue()
