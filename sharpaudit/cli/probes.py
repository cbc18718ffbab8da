"""`sharpaudit probes`: what can be measured, at what cost, and when not to trust it."""

from __future__ import annotations

from typing import Annotated

import typer

from sharpaudit.cli.app import Json, app
from sharpaudit.errors import clean


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
            ours = [{"name": each.name, "version": each.version, "measures": list(each.measures)} for each in found]
            theirs = [{"name": clean(each), "distribution": package} for each, package in registry.plugins().items()]
            print(codec.dumps([*ours, *theirs]), end="")
            return
        for each in found:
            question = each.documentation.splitlines()[0]
            print(f"{each.name:<20}{question}")
        for plugin, package in registry.plugins().items():  # listed by name: to ask them anything would run them
            print(f"{clean(plugin):<20}(a plug-in: {package})")
        return
    one = registry.find(name)
    documentation = "\n".join(clean(line, 1000) for line in one.documentation.splitlines())
    if json:
        document = {
            "name": one.name,
            "version": one.version,
            "needs": sorted(one.needs),
            "measures": list(one.measures),
            "options": {key: {"type": kind, "default": default} for key, kind, default in one.option_table()},
            "documentation": documentation,
        }
        print(codec.dumps(document), end="")
        return
    print(documentation)
    print("\nOptions (--set " + one.name + ".OPTION=VALUE)")
    for key, kind, default in one.option_table():
        print(f"    {key:<20}{kind:<16}default {default}")
    print("\nMeasures\n    " + "\n    ".join(one.measures))
