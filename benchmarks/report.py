"""Medians of the rounds, and the tables that people read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from peers import PEERS
from rig import Round
from workloads import Workload

__all__ = ["Summary", "summarise", "table"]

Summary = dict[str, float]
"""The medians of one peer's rounds, by the names of `Rig.measure`, and what they are beside other peers."""

FLOOR = "haproxy"
NOTHING = "direct"
HEADS = {"p50_us": "p50 us", "p99_us": "p99 us", "p50_added_us": "added p50", "p99_added_us": "added p99"}


def summarise(rounds: Mapping[str, Sequence[Round]]) -> dict[str, Summary]:
    """The medians of each peer; errors are added up. A ratio or difference is taken within each round first, because
    neighbouring measurements share what else the machine was doing."""
    summaries = {}
    for peer, measured in rounds.items():
        good = [r for r in measured if "failed" not in r]
        summary: Summary = {key: median(r[key] for r in good) for key in (good[0] if good else {})}
        if good:
            summary["errors"] = sum(r["errors"] for r in good)
        for key, name, other in (
            ("cpu_us", "cpu_of_floor", FLOOR),
            ("p50_us", "p50_added_us", NOTHING),
            ("p99_us", "p99_added_us", NOTHING),
        ):
            pairs = [(a[key], b[key]) for a, b in zip(measured, rounds.get(other, ()), strict=False)
                     if key in a and key in b]  # fmt: skip
            if not pairs or other == peer or peer == NOTHING:
                continue
            if other == NOTHING:
                summary[name] = median(a - b for a, b in pairs)
            elif all(b for _, b in pairs):
                summary[name] = median(a / b for a, b in pairs)
        for key in ("cpu_us", "kib_per_connection"):
            if key in summary:
                summary[f"{key}_least"] = min(r[key] for r in good)
                summary[f"{key}_most"] = max(r[key] for r in good)
        summaries[peer] = summary
    return summaries


def table(workload: Workload, rounds: Mapping[str, Sequence[Round]]) -> str:
    """The table of one workload, in Markdown, one row for each peer."""
    figure = "kib_per_connection" if workload.idle else "cpu_us"
    heads = ["peer", "KiB RSS" if workload.idle else "CPU us", "least-most", "target"]
    heads += ["setup CPU us", "rest CPU ms/s"] if workload.idle else ["x HAProxy"]
    if workload.unit == "connection" and not workload.idle:
        heads += ["per CPU s"]
    if not workload.idle:
        heads += [f"{_plural(workload.unit)}/s"]
    latencies = ["p50_us", "p99_us"] if workload.latency else []
    if workload.latency and not workload.tls:
        latencies += ["p50_added_us", "p99_added_us"]
    heads += [HEADS[key] for key in latencies]
    if not workload.idle:
        heads += ["gateway busy", "rig busy"]
    rows = [[*heads, "errors"]]
    summaries = summarise(rounds)
    for peer, summary in summaries.items():
        title = PEERS[peer].title
        if not summary:
            rows.append([title, "failed: " + rounds[peer][0]["failed"]])
            continue
        least, most = summary[f"{figure}_least"], summary[f"{figure}_most"]
        costs = peer != NOTHING
        row = [title, _number(summary[figure]) if costs else "-"]
        row += [f"{_number(least)}-{_number(most)}" if costs else "-"]
        row += [_verdict(summary[figure], workload.targets.get(peer))]
        if workload.idle:
            row += [_number(summary["setup_us"]), _number(summary["rest_ms"])]
        else:
            row += [_number(summary.get("cpu_of_floor"))]
            if workload.unit == "connection":
                row += [f"{1e6 / summary['cpu_us']:,.0f}" if costs and summary["cpu_us"] else "-"]
            row += [_rate(workload, peer, summary)]
        row += [_number(summary.get(key)) for key in latencies]
        if not workload.idle:
            row += [f"{summary['gateway_busy']:.2f}" if costs else "-", f"{summary['rig_busy']:.2f}"]
        failed = sum("failed" in r for r in rounds[peer])
        row += [f"{summary['errors']:.0f}" + (f", {failed} of {len(rounds[peer])} rounds failed" if failed else "")]
        rows.append(row)
    title = workload.title
    if workload.idle and (held := [summary["connections"] for summary in summaries.values() if summary]):
        title = f"{held[0]:,.0f} {title}"
    return f"## {workload.name}: {title}\n\n{_align(rows)}\n\n_Per {workload.unit}._"


def _plural(unit: str) -> str:
    return "deliveries" if unit == "delivery" else f"{unit}s"


def _rate(workload: Workload, peer: str, summary: Summary) -> str:
    """Units per second, marked where they are not what the gateway can do at most."""
    rate = f"{summary['per_second']:,.0f}"
    if workload.limited_by == "rate":
        return f"{rate} (paced{', ' + format(summary['late'], ',.0f') + ' late' if summary['late'] else ''})"
    held_back = peer != NOTHING and summary["gateway_busy"] < 0.95
    return f">{rate}" if held_back else rate


def _verdict(value: float, target: float | None) -> str:
    if target is None:
        return ""
    return f"<= {_number(target)} {'met' if value <= target else 'MISSED'}"


def _number(value: float | None) -> str:
    """Three significant digits."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 3)}f}"


def _align(rows: Sequence[Sequence[str]]) -> str:
    """Markdown that is a table in a terminal as well; the first column to the left, the figures to the right."""
    count = len(rows[0])
    filled = [[*row, *[""] * (count - len(row))] for row in rows]
    # The reason of a failure may be long; it is no reason to widen a column of figures.
    widths = [max(len(row[i]) for row in filled if i == 0 or not row[1].startswith("failed: ")) for i in range(count)]
    lines = [
        "| " + " | ".join(row[i].ljust(widths[i]) if i == 0 else row[i].rjust(widths[i]) for i in range(count)) + " |"
        for row in filled
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 1) + (":" if i else "-") for i, width in enumerate(widths)) + "|")
    return "\n".join(lines)
