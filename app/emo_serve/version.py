"""The version of what is installed."""

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """As the package says, ``0`` where there is none."""
    try:
        return version("emo-serve")
    except PackageNotFoundError:
        return "0"
