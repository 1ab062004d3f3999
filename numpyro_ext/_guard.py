from pathlib import Path


def refuse_mixed_install(folder: Path = Path(__file__).parent) -> None:
    """Refuse to run when another package shares this folder with ours.

    The distribution `numpyro-ext` has the same import name. pip installs both into one
    folder without a word: our `distributions/` then hides its `distributions.py`, the
    later install overwrites `__init__.py`, and the first uninstall removes it.

    Args:
        folder: The folder of the package `numpyro_ext`.

    Raises:
        ImportError: If a module of the other package lies there, or if `__init__.py`
            has been removed with it.
    """
    if (folder / "linear_op.py").exists():
        found = "`linear_op.py`, a module of `numpyro-ext`, lies among our modules"
    elif not (folder / "__init__.py").exists():
        found = "`__init__.py` is missing"
    else:
        return
    raise ImportError(
        f"The package in {folder} is damaged: {found}.\n"
        "Most often two packages with the import name `numpyro_ext` were installed in "
        "one environment: `numpyro-ext-suite`, which is this one, and `numpyro-ext`, "
        "which has limb darkening and `optim`.\n"
        "Type `pip uninstall -y numpyro-ext numpyro-ext-suite`, and then install the "
        "one that you want: ours with `pip install .` in its checkout, or the other "
        "with `pip install numpyro-ext`.",
        name="numpyro_ext",
        path=str(folder),
    )
