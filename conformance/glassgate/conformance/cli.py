"""The command line: one table of commands, each loaded when it is called.

To add a command: write a module with a click command in it, and add its line to ``COMMANDS``. What the user gave and
cannot be used is raised as ``click.ClickException``, ``VectorError`` or ``ConfigError``: one line, exit status 2.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence

import click

from glassgate.contract import ConfigError

BAD_INPUT = 2

COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("glassgate.conformance.demo:demo", "The suite, then packets followed through the network."),
    "follow": ("glassgate.conformance.follow:follow", "Explain what a gateway does with frames of yours."),
    "check": ("glassgate.conformance.check:check", "Judge a gateway by the vectors."),
    "serve": ("glassgate.conformance.serve:serve", "Put a gateway behind protocol 1 on standard input and output."),
    "vectors": ("glassgate.conformance.vectors_command:vectors", "List, show and export the vectors."),
    "rules": ("glassgate.conformance.rules_command:rules", "List the rules, and how many vectors test each."),
    "lab": ("glassgate.conformance.lab.commands:lab", "Real traffic through a stock OpenVPN server, in namespaces."),
    "far-end": ("glassgate.conformance.server.command:far_end", "Be the server of a tunnel, for one OpenVPN client."),
    "fuzz": ("glassgate.conformance.fuzz.command:fuzz", "Find inputs on which two gateways part."),
    "bench": ("glassgate.conformance.bench.command:bench", "What a packet costs, gateways side by side."),
    "zoo": ("glassgate.conformance.zoo.command:zoo", "Set real bugs of real gateways free, and catch them."),
    "mutants": ("glassgate.conformance.mutants.command:mutants", "Small changes of the reference, all to be noticed."),
    "version": ("glassgate.conformance.version_command:version", "Tell the versions of this program and its gateways."),
}
"""Each command: the module and the click command in it, and a line of help."""


class _LazyGroup(click.Group):
    """Loads a command's module when the command is called, so that starting is quick and a part can be absent."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            raise click.UsageError(f"unknown command {cmd_name!r}; known: {', '.join(COMMANDS)}")
        module, name = COMMANDS[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False)
@click.version_option(package_name="glassgate", message="glassgate %(version)s")
def glassgate() -> None:
    """An OpenVPN gateway that you can see through: its demo, its laboratory and its conformance suite."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no arrows gets question marks
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 success, 1 a check failed, 2 bad input."""
    try:
        status = glassgate.main(args=arguments, prog_name="glassgate", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return BAD_INPUT
    except click.ClickException as error:
        return _complain(error.format_message())
    except (ConfigError, ValueError) as error:
        if not _is_user_error(error):
            raise
        return _complain(str(error))
    except click.Abort:
        click.echo("glassgate: interrupted", err=True)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not find that out again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
    return status if isinstance(status, int) else 0


def _is_user_error(error: ValueError) -> bool:
    from glassgate.conformance.model import VectorError

    return isinstance(error, ConfigError | VectorError)


def _complain(message: str) -> int:
    click.echo("glassgate: " + " ".join(message.split()), err=True)
    return BAD_INPUT
