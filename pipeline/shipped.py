"""Files that travel with the code: beside it in a checkout, inside the package in an installed wheel."""

from pathlib import Path


def shipped(name: str) -> Path:
    """The path of ``lua`` or ``Procfile``. Raises FileNotFoundError if the installation is incomplete."""
    package = Path(__file__).parent
    for path in (package / name, package.parent / name):
        if path.exists():
            return path
    raise FileNotFoundError(f"{name} is not part of this installation of marketswarm")
