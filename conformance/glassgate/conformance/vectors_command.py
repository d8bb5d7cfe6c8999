"""``glassgate vectors``: list, show and export."""

from __future__ import annotations

import click


@click.group()
def vectors() -> None:
    """List, show and export the vectors."""
