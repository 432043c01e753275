"""The command line: ``jobwire call``, ``api``, ``serve``, ``jobs`` and ``demo``.

Results go to standard output, everything else to standard error. Exit codes are in
`exits`.
"""

from __future__ import annotations

import io
import sys

from jobwire.cli.exits import ExitCode

__all__ = ("main",)


def main() -> None:
    """Run the command line of the ``jobwire`` program."""
    try:
        import rich
        import typer
    except ImportError as error:
        print(
            f"the command line needs {error.name}: pip install 'jobwire[cli]'",
            file=sys.stderr,
        )
        sys.exit(ExitCode.USAGE)
    del rich

    from jobwire import __version__
    from jobwire.cli.api import api
    from jobwire.cli.call import call
    from jobwire.cli.demo import demo
    from jobwire.cli.jobs import make_jobs
    from jobwire.cli.serve import serve

    app = typer.Typer(
        name="jobwire",
        help="Call Gradio apps from the command line, and serve Python functions as one.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command(no_args_is_help=True)(call)
    app.command(no_args_is_help=True)(api)
    app.command(no_args_is_help=True)(serve)
    app.command()(demo)
    app.add_typer(make_jobs())

    def show_version(value: bool) -> None:
        if value:
            print(f"jobwire {__version__}")
            raise typer.Exit

    @app.callback()
    def common(
        version: bool = typer.Option(
            False, "--version", is_eager=True, callback=show_version, help="Print the version."
        ),
    ) -> None:
        del version

    # What the terminal cannot show is escaped; a result must not end in a traceback.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()
