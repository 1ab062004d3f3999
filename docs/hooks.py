"""Beyond what the plugins do: executed notebooks, and formulas as MathML."""

import hashlib
import html
import logging
import re
import subprocess
import sys
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
RENDERED = ROOT / "build" / "notebooks"
# A displayed formula with text right above it comes as an inline one between dollars.
FORMULA = re.compile(
    r'(?P<dollar>\$?)<(?P<tag>span|div) class="arithmatex">'
    r"\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>(?P=dollar)",
    re.DOTALL,
)
CODE = re.compile(r"<(pre|code)\b.*?</\1>", re.DOTALL)

log = logging.getLogger("mkdocs.hooks.formulas")


def notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.py"))


def on_config(config: MkDocsConfig) -> None:
    """Give every notebook a place in the navigation."""
    pages = [f"notebooks/{path.stem}.md" for path in notebooks()]
    if pages and config.nav is not None:
        config.nav.insert(1, {"Notebooks": pages})
        config.watch.append(str(ROOT / "notebooks"))


def on_files(files: Files, *, config: MkDocsConfig) -> None:
    """Execute the notebooks, and add their pages and pictures to the site."""
    for notebook in notebooks():
        for path in sorted(render(notebook).iterdir()):
            files.append(
                File.generated(config, f"notebooks/{path.name}", abs_src_path=str(path))
            )


def render(notebook: Path) -> Path:
    """The folder with the page and the pictures of `notebook`.

    A page is made again when the notebook or the package has changed.
    """
    digest = hashlib.sha256()
    for path in [notebook, Path(__file__), *sorted(ROOT.glob("numpyro_ext/**/*.py"))]:
        digest.update(path.read_bytes())
    folder = RENDERED / f"{notebook.stem}-{digest.hexdigest()[:16]}"
    if not (folder / f"{notebook.stem}.md").exists():
        # In a process of its own: notebooks must not see each other's settings.
        script = str(Path(__file__).with_name("render_notebook.py"))
        command = [sys.executable, script, str(notebook), str(folder)]
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            raise PluginError(
                f"The notebook {notebook.name} stopped with the error above.\n"
                f"Run it alone with `.venv/bin/python notebooks/{notebook.name}`."
            )
    return folder


def on_page_content(content: str, *, page, **_) -> str:
    """Turn the formulas of the page, docstrings included, into MathML."""

    def mathml(match: re.Match[str]) -> str:
        latex = html.unescape(match["latex"]).strip()
        is_displayed = match["tag"] == "div" or match["dollar"]
        try:
            return convert(latex, display="block" if is_displayed else "inline")
        except Exception as error:  # the converter raises many kinds
            log.warning(
                "%s: formula not understood (%r): %s", page.file.src_uri, error, latex
            )
            return match[0]

    content = FORMULA.sub(mathml, content)
    if "$$" in CODE.sub("", content):
        log.warning(
            "%s: a `$$` is left over; put blank lines around that formula",
            page.file.src_uri,
        )
    return content
