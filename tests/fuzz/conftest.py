"""At the end, a line for each kind of damaged file: how many, how they ended, and what the commands took."""

from collections import Counter, defaultdict
from typing import Any

from tests.fuzz.running import Cost

__all__: list[str] = []


def pytest_terminal_summary(terminalreporter: Any) -> None:
    ends: dict[str, Counter[str]] = defaultdict(Counter)
    costs: dict[str, list[Cost]] = defaultdict(list)
    for report in terminalreporter.stats.get("passed", []):
        for kind, (ended, took) in report.user_properties:
            ends[kind].update(ended)
            costs[kind] += [Cost(*one) for one in took]
    for kind, counts in sorted(ends.items()):
        told = ", ".join(f"{end} {count}" for end, count in sorted(counts.items()))
        peak_mib, most_s = max(cost.peak_mib for cost in costs[kind]), max(cost.cpu_s for cost in costs[kind])
        total_s = sum(cost.cpu_s for cost in costs[kind])
        line = f"{kind}: {told}; {len(costs[kind])} commands, {total_s:.0f} s, at most {most_s:.1f} s, {peak_mib} MiB"
        terminalreporter.write_line(line)
