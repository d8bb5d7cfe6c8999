"""The JSON of ``bench``, read again: several files of a kind make one, where a later one replaces what it repeats."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glassgate.conformance.bench.figures import BenchError, Figure
from glassgate.conformance.bench.memory import MemoryFigure
from glassgate.conformance.bench.report import MICRO, SCHEMA
from glassgate.conformance.bench.samples import Case, LabFigure, LabSample, Setting
from glassgate.conformance.bench.scale import ScaleFigure


@dataclass(slots=True)
class Found:
    """All that the files hold."""

    around: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the figures depend on, by the table: core, scale, memory, and each setting of the lab."""
    limit: str = ""
    base: str = ""
    lab_base: str = ""
    core: dict[tuple[str, str], Figure] = field(default_factory=dict)
    """By case and name."""
    scale: dict[tuple[str, str, int], ScaleFigure] = field(default_factory=dict)
    """By state, gateway and number of entries."""
    memory: dict[tuple[str, str], MemoryFigure] = field(default_factory=dict)
    """By gateway and interface."""
    lab: dict[Setting, dict[tuple[Case, str], list[LabSample]]] = field(default_factory=dict)
    """By setting, case and gateway."""

    def samples(self, setting: Setting) -> list[LabSample]:
        """All of the lab in that setting."""
        return [sample for samples in self.lab.get(setting, {}).values() for sample in samples]

    def usual_setting(self) -> Setting | None:
        """The setting in which all was measured, as near to real cards as there is."""
        usual = [setting for setting in self.lab if not setting.isolated]
        return min(usual, key=lambda setting: setting.offloads != "on", default=None)

    def figure(self, case: Case, gateway: str) -> tuple[Setting, LabFigure] | None:
        """Of a case and a gateway the figure that is nearest to real, and of those the least disturbed one."""
        there = [setting for setting, taken in self.lab.items() if (case, gateway) in taken]
        if not there:
            return None
        best = min(there, key=lambda setting: (setting.offloads != "on", not setting.isolated))
        return best, LabFigure(tuple(self.lab[best][case, gateway]))


def read(files: Iterable[Path]) -> Found:
    """Read them in their order.

    Raises:
        BenchError: a file is not what ``bench … --json`` writes.
    """
    found = Found()
    for file in files:
        try:
            _take(found, json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BenchError(f"{file}: not what bench --json writes ({type(error).__name__}: {error})") from None
    return found


def _take(found: Found, content: Mapping[str, Any]) -> None:
    if content["schema"] != SCHEMA:
        raise ValueError(f"schema {content['schema']!r}, not {SCHEMA!r}")
    kind = content["bench"]
    {"core": _take_core, "scale": _take_scale, "lab": _take_lab}[kind](found, content)


def _take_core(found: Found, content: Mapping[str, Any]) -> None:
    found.limit, found.base = content["limit"], content["base"]
    found.around["core"] = content["environment"]
    for one in content["figures"]:
        figure = _figure(one, one["case"])
        found.core[figure.case, figure.name] = figure


def _take_scale(found: Found, content: Mapping[str, Any]) -> None:
    for name, is_there in (("scale", content["figures"]), ("memory", content["memory"])):
        if is_there:
            found.around[name] = content["environment"]
    for one in content["figures"]:
        figure = _figure(one, str(one["entries"]))
        found.scale[one["case"], figure.subject, one["entries"]] = ScaleFigure(one["case"], one["entries"], figure)
    for one in content["memory"]:
        memory = MemoryFigure.of(one)
        found.memory[memory.subject, memory.interface] = memory


def _take_lab(found: Found, content: Mapping[str, Any]) -> None:
    found.lab_base = content["base"]
    setting = Setting(content["offloads"]["external"], content["isolated"])
    found.around[setting.word] = content["environment"]
    taken = found.lab.setdefault(setting, {})
    for one in content["figures"]:
        case = Case(one["far_end"], one["direction"], one["load"])
        taken[case, one["gateway"]] = [_sample(one, case, sample) for sample in one["samples"]]


def _figure(one: Mapping[str, Any], case: str) -> Figure:
    samples = tuple(sample / MICRO for sample in one["microseconds"]["samples"])
    return Figure(case, one["subject"], one["interface"] or "", one["packets_a_sample"], samples)


def _sample(one: Mapping[str, Any], case: Case, sample: Mapping[str, Any]) -> LabSample:
    return LabSample(
        gateway=one["gateway"],
        case=case,
        offered=sample["offered"],
        delivered=sample["delivered"],
        size=one["octets"],
        seconds=sample["seconds"],
        cpu_seconds=sample["cpu_seconds"],
        server_cpu_seconds=sample["server_cpu_seconds"],
        pings_ms=tuple(sample["pings_ms"]),
    )
