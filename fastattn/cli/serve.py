"""`fastattn serve`: a page and a JSON interface to trained models."""

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path

from .common import Parser, UserError, at_least_zero, choose_computing, compiling_in_a_line, version, whole_number

HOST = "127.0.0.1"
PORT = 8000


def add_parser(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Adds `fastattn serve`."""
    parser = commands.add_parser(
        "serve",
        help="try a model in a browser, and answer requests in JSON",
        description="Serve a page that shows the answers to what is typed, where the model looked, and what comes of a file "
        "of pairs; two models stand side by side. Programs ask the same by JSON: /openapi.json says how. It listens on this "
        "machine alone unless --host says otherwise, and ends by Ctrl-C. Needs the extra serve: "
        "pip install 'fastattn[serve]'.",
        add_later=_add_arguments,
    )
    parser.set_defaults(run=run)


def _add_arguments(parser: Parser) -> None:
    from fastattn.serving import Limits
    from fastattn.serving.batching import SIZE, WAIT

    parser.add_argument("folder", metavar="DIR", help="the folder of a model, as written by `fastattn train`")
    parser.add_argument("other", metavar="DIR2", nargs="?", help="the folder of a model to compare it with")
    group = parser.add_argument_group("where")
    group.add_argument("--host", default=HOST, help="the name or address to listen on (default: %(default)s)")
    group.add_argument(
        "--port",
        type=whole_number(0, 65535),
        default=PORT,
        metavar="N",
        help="the port; 0 for any that is free (default: %(default)s)",
    )
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which it may be asked, as it stands in the Host header; may be repeated (default: the names of "
        "this machine itself if --host is one of them, or else any)",
    )
    group = parser.add_argument_group("batches")
    group.add_argument(
        "--batch-size",
        type=whole_number(1),
        default=SIZE,
        metavar="N",
        help="so many texts share a batch at the most, fewer with a wide beam and of long texts (default: %(default)s)",
    )
    group.add_argument(
        "--batch-wait",
        type=at_least_zero,
        default=1000 * WAIT,
        metavar="MS",
        help="so many milliseconds the first text of a batch waits for others (default: %(default)s)",
    )
    group = parser.add_argument_group("limits", "What is beyond is refused.")
    for field in fields(Limits):
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=whole_number(1),
            default=field.default,
            metavar="N",
            help=f"{field.metadata['help']} (default: %(default)s)",
        )


def run(arguments: argparse.Namespace) -> None:
    """Serves until a signal ends it."""
    from fastattn.data import require

    for package in ("starlette", "uvicorn", "prometheus_client"):
        require(package, "serve", "serving")
    from fastattn.serving import Limits
    from fastattn.serving.app import make_app
    from fastattn.serving.door import local_hosts
    from fastattn.serving.server import address_of, listening, run
    from fastattn.training import Translator

    limits = Limits(**{field.name: getattr(arguments, field.name) for field in fields(Limits)})
    choose_computing()
    folders = [each for each in (arguments.folder, arguments.other) if each is not None]
    models = dict(zip(_names(folders), map(Translator.load, folders), strict=True))
    try:
        listener = listening(arguments.host, arguments.port)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot listen on {arguments.host}, port {arguments.port}: {reason}") from error
    with listener:
        app = make_app(
            models,
            limits,
            hosts=[name.lower() for name in arguments.allow_host] or local_hosts(arguments.host),
            batch_size=arguments.batch_size,
            batch_wait=arguments.batch_wait / 1000,
            version=version(),
        )
        with compiling_in_a_line(has_bar=False):
            app.service.warm_up()
        print(f"{' and '.join(models)}: {address_of(listener)}", flush=True)
        if local_hosts(arguments.host) is None:
            print("fastattn: it is open to whoever reaches this machine; nobody is asked for a password", file=sys.stderr)
        run(app, listener, limits)


def _names(folders: list[str]) -> list[str]:
    """The last part of each folder's path; the whole of it where these are the same."""
    names = [Path(os.path.abspath(folder)).name or folder for folder in folders]
    if len(set(names)) < len(names):
        names = folders
    if len(set(names)) < len(names):
        raise UserError(f"{folders[0]} is given twice; expected two models")
    return names
