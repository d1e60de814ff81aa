"""Which Takeover this is."""

from importlib import metadata


def version() -> str:
    """As it was installed."""
    try:
        return metadata.version("takeover")
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return "0+checkout"
