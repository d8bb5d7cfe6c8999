"""``glassgate check``."""

from __future__ import annotations

import click


@click.command()
@click.argument("subjects", nargs=-1)
def check(subjects: tuple[str, ...]) -> None:
    """Judge a gateway by the vectors."""
    raise click.ClickException("check is not here yet")
