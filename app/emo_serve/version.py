"""The version of the installed package."""

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """The version from the package metadata, ``0`` if it is not installed."""
    try:
        return version("emo-serve")
    except PackageNotFoundError:
        return "0"
