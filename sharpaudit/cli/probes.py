"""`sharpaudit probes`: what can be measured, at what cost, and when not to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from sharpaudit.cli.app import Json, app
from sharpaudit.errors import clean


@app.command()
def probes(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Explain this probe.")] = None,
    json: Json = False,
) -> None:
    """List the probes, or explain one.

    What it measures and why, how, when not to trust it, its sources, its options and what each preset makes of them.
    """
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
    presets = _presets(name)
    documentation = "\n".join(clean(line, 1000) for line in one.documentation.splitlines())
    if json:
        document = {
            "name": one.name,
            "version": one.version,
            "needs": sorted(one.needs),
            "measures": list(one.measures),
            "presets": list(presets),
            "options": {
                key: {"type": kind, "default": default, "presets": _changes(presets, key, default)}
                for key, kind, default in one.option_table()
            },
            "documentation": documentation,
        }
        print(codec.dumps(document), end="")
        return
    print(documentation)
    print(f"\nPresets\n    {', '.join(presets) or 'none: --probes names it'}")
    print("\nOptions (--set " + one.name + ".OPTION=VALUE)")
    for key, kind, default in one.option_table():
        changed = "".join(f"; {preset} {value}" for preset, value in _changes(presets, key, default).items())
        print(f"    {key:<20}{kind:<16}default {default}{changed}")
    print("\nMeasures")
    for entry in one.entries:
        unit = "" if entry.scale.unit == "1" else entry.scale.unit
        better = "" if entry.direction == "none" else f"{entry.direction} is better"
        print(f"    {clean(entry.name):<40}{', '.join(clean(word) for word in (entry.title, unit, better) if word)}".rstrip())


def _presets(name: str) -> dict[str, Any]:
    """The presets that run the probe, each with the options it gives it."""
    from sharpaudit.plan import PRESETS, plan

    return {preset: step.options for preset in PRESETS for step in plan(preset) if step.probe.name == name}


def _changes(presets: Mapping[str, Any], key: str, default: object) -> dict[str, object]:
    """The presets that do not leave the option `key` at its default, each with its value."""
    values = {preset: getattr(options, key) for preset, options in presets.items()}
    return {preset: value for preset, value in values.items() if value != default}
