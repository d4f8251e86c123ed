"""`duly config`: what is set, whence it came, and whether it could run. Connects to nothing.

Secrets are never shown. `check` exits 0 when the settings, and the application if one is named,
can be built; otherwise it says every fault at once and exits 78.
"""

from __future__ import annotations

import click

from duly.app.notifying import doubts_of
from duly.cli.display import show
from duly.cli.session import app_options, find_app, output_option
from duly.outbound.channels import make_channels
from duly.outbound.secrets import Secrets


@click.group()
def config() -> None:
    """Look at settings, and check them."""


@config.command("show")
@click.option("--origin", is_flag=True, help="Also where each value came from.")
@app_options
@output_option
def show_config(origin: bool, app_spec: str | None, store: str | None, output: str) -> None:
    """Show every setting."""
    described = find_app(app_spec, store).loaded.describe()
    rows = [{"setting": name, **told} for name, told in described.items()]
    columns = {"SETTING": "setting", "VALUE": "value"} | ({"ORIGIN": "origin"} if origin else {})
    show(rows, columns, output, empty="")


@config.command()
@app_options
def check(app_spec: str | None, store: str | None) -> None:
    """Check the settings without starting anything."""
    app = find_app(app_spec, store)
    make_channels(app.settings, secrets=Secrets({}), now=app.clock.now)  # and every room before it
    for doubt in doubts_of(app):
        click.echo(f"warning: a rule of notify: {doubt}", err=True)
    told = f" with {len(app.tasks)} tasks, {len(app.definitions)} schedules" if app_spec else ""
    click.echo(f"the configuration is right{told}")
