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
        samples, around = found.samples(setting), found.around[setting.word]
        made[f"lab-{setting.word}"] = _page(report.lab_sheet(samples, found.lab_base, setting), around)
        latency = report.latency_sheet(samples, found.lab_base, setting)
        if latency is not None:
            made[f"latency-{setting.word}"] = _page(latency, around)
    if found.scale:
        made["scale"] = _page(report.scale_sheet(list(found.scale.values())), found.around["scale"])
    if found.memory:
        made["memory"] = _page(report.memory_sheet(list(found.memory.values())), found.around["memory"])
    made["aims"] = markdown(aims.sheet(found))
    return made


def _page(sheet: Sheet, around: Mapping[str, Any]) -> str:
    count = around["processors"]
    words = [
        f"{sheet.title}. {around['python']}",
        f"cryptography {around['cryptography']}",
        around["system"],
        around["machine"],
        f"{count} processor{'s' if count > 1 else ''}",
    ]
    if "load_average" in around:
        words.append(f"load average when it began: {around['load_average']:g}")
    return f"{markdown(sheet)}\n*{', '.join(words)}.*\n"


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
