"""``glassgate serve``."""

from __future__ import annotations

import click


@click.command()
@click.argument("name")
def serve(name: str) -> None:
    """Put a gateway behind protocol 1 on standard input and output."""
    raise click.ClickException("serve is not here yet")
