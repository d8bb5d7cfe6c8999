"""The tables and pictures of docs/benchmarks.md, made of what was measured: to measure anew is to write these anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glassgate.conformance.bench import aims, plot, report
from glassgate.conformance.bench.read import Found
from glassgate.conformance.bench.sheets import Sheet, markdown


def tables(found: Found) -> dict[str, str]:
    """Each table by its name, as Markdown with a line that says where the figures come from."""
    made: dict[str, str] = {}
    if found.core:
        sheet = report.core_sheet(list(found.core.values()), found.limit, found.base)
        made["core"] = _page(sheet, found.around["core"])
    for setting in found.lab:
        sheet = report.lab_sheet(found.samples(setting), found.lab_base, setting)
        made[f"lab-{setting.word}"] = _page(sheet, found.around[setting.word])
    if found.scale:
        made["scale"] = _page(report.scale_sheet(list(found.scale.values())), found.around["scale"])
    if found.memory:
        made["memory"] = _page(report.memory_sheet(list(found.memory.values())), found.around["memory"])
    made["aims"] = markdown(aims.sheet(found))
    return made


def _page(sheet: Sheet, around: Mapping[str, Any]) -> str:
    count = around["processors"]
    return (
        f"{markdown(sheet)}\n*{sheet.title}. {around['python']}, cryptography {around['cryptography']}, "
        f"{around['system']}, {around['machine']}, {count} processor{'s' if count > 1 else ''}; "
        f"load average when it began: {around['load_average']:g}.*\n"
    )


def pictures(found: Found) -> dict[str, str]:
    """Each picture by its name."""
    made: dict[str, str] = {}
    if found.core:
        made["core"] = plot.core(list(found.core.values()), found.limit)
    if found.scale:
        made["scale"] = plot.scale(list(found.scale.values()))
    usual = found.usual_setting()
    if usual is not None:
        made["lab"] = plot.lab(found.samples(usual), found.lab_base)
    return made
