"""``glassgate version``."""

from __future__ import annotations

import platform
from importlib.metadata import version as version_of

import click

from glassgate.conformance.subjects import discovery


@click.command()
def version() -> None:
    """Tell the versions of this program, of the interpreter and of the gateways that are installed."""
    click.echo(f"glassgate {version_of('glassgate')}")
    click.echo(f"{platform.python_implementation()} {platform.python_version()}")
    for name in discovery.names():
        try:
            found = discovery.find(name)
        except discovery.SubjectError as error:
            click.echo(f"gateway {name}: {error}")
            continue
        click.echo(f"gateway {name} {found.version} ({found.language}): {', '.join(sorted(found.capabilities))}")
