"""`sharpaudit probes`: what can be measured, at what cost, and when not to trust it."""

from __future__ import annotations

from typing import Annotated

import typer

from sharpaudit.cli.app import Json, app


@app.command()
def probes(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Explain this probe.")] = None,
    json: Json = False,
) -> None:
    """List the probes, or explain one: what, why, how computed, when not to trust it, sources."""
    from sharpaudit import probes as registry
    from sharpaudit.card import codec

    if name is None:
        found = [registry.find(each) for each in registry.names()]
        if json:
            print(
                codec.dumps([{"name": each.name, "version": each.version, "measures": list(each.measures)} for each in found]),
                end="",
            )
            return
        for each in found:
            question = each.documentation.splitlines()[0]
            print(f"{each.name:<20}{question}")
        return
    one = registry.find(name)
    if json:
        document = {
            "name": one.name,
            "version": one.version,
            "needs": sorted(one.needs),
            "measures": list(one.measures),
            "options": {key: {"type": kind, "default": default} for key, kind, default in one.option_table()},
            "documentation": one.documentation,
        }
        print(codec.dumps(document), end="")
        return
    print(one.documentation)
    print("\nOptions (--set " + one.name + ".OPTION=VALUE)")
    for key, kind, default in one.option_table():
        print(f"    {key:<20}{kind:<16}default {default}")
    print("\nMeasures\n    " + "\n    ".join(one.measures))
