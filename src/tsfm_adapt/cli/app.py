"""The verbs by name."""

from __future__ import annotations

import typer

from tsfm_adapt.cli import (
    check,
    compare,
    doctor,
    embed,
    evaluate,
    export,
    init,
    listing,
    new,
    predict,
    resume,
    schema,
    train,
    tune,
)

app = typer.Typer(
    name="tsfm-adapt",
    help="Adapt pretrained time-series foundation models to multivariate biosignals.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(init.command)
app.command("check")(check.command)
app.command("train")(train.command)
app.command("tune")(tune.command)
app.command("resume")(resume.command)
app.command("evaluate")(evaluate.command)
app.command("predict")(predict.command)
app.command("export")(export.command)
app.command("compare")(compare.command)
app.command("embed")(embed.command)
app.command("list")(listing.command)
app.command("schema")(schema.command)
app.command("doctor")(doctor.command)
app.command("new")(new.command)
