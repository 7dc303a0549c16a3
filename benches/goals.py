"""What shoal is to reach against libtorrent, and whether it did.

Where the processor has SHA instructions, hashing costs the others little, so there the goals for it are lower.
"""

from dataclasses import dataclass

from figures import Figures

Cells = dict[tuple[str, str], dict[str, Figures]]  # (scenario, format) -> client -> medians
EVERY = ("v1", "v2", "hybrid")


@dataclass(frozen=True)
class Goal:
    """Of one scenario and format: times as fast as libtorrent at least, a share of its CPU at most, or MiB at most."""

    scenario: str
    form: str
    kind: str  # "speed", "cpu" or "memory"
    target: float

    def value(self, ours: Figures, theirs: Figures) -> float:
        if self.kind == "speed":
            return ours.rate() / theirs.rate()
        if self.kind == "cpu":
            return ours.cpu_per_gib() / theirs.cpu_per_gib()
        return max(ours.memory, ours.seed_memory)

    def met(self, value: float) -> bool:
        return value >= self.target if self.kind == "speed" else value <= self.target

    def bound(self) -> str:
        return f"{'≥' if self.kind == 'speed' else '≤'} {self.target:.2f}"



def goals(with_sha: bool) -> list[Goal]:
    """The goals on a machine with or without SHA instructions."""
    v2, hash_v2 = (4, 4) if with_sha else (4.5, 5)
    return [
        *(Goal("1-1", form, "speed", target) for form, target in (("v1", 3), ("v2", v2), ("hybrid", 5))),
        *(Goal("1-1", form, "cpu", target) for form, target in (("v1", 1 / 3), ("v2", 1 / 4))),
        *(Goal("1-1", form, "memory", 64) for form in EVERY),
        *(Goal(scenario, form, "speed", target) for scenario in ("create", "verify") for form, target in (("v1", 3), ("v2", hash_v2))),
        *(Goal("1-4", form, "speed", 3) for form in (("v2", "hybrid") if with_sha else EVERY)),
    ]


TITLES = {
    "speed": "times as fast as libtorrent",
    "cpu": "of libtorrent's CPU seconds per GiB, all ends",
    "memory": "MiB, peak of each end",
}


def report(cells: Cells, with_sha: bool) -> list[str]:
    """A line a goal, of those that were measured; beside the default libtorrent, for knowledge, the tuned one."""
    lines = [f"goals for a machine {'with' if with_sha else 'without'} SHA instructions:"]
    for goal in goals(with_sha):
        clients = cells.get((goal.scenario, goal.form), {})
        ours, theirs, tuned = (clients.get(name) for name in ("shoal", "libtorrent", "tuned"))
        if ours is None or (theirs is None and goal.kind != "memory"):
            continue
        value = goal.value(ours, theirs or ours)
        beside = f"  (tuned: {goal.value(ours, tuned):.2f})" if tuned and goal.kind != "memory" else ""
        verdict = "met" if goal.met(value) else "MISSED"
        what = f"{goal.scenario.replace('-', '→'):7}{goal.form:7}{value:8.2f} {TITLES[goal.kind]:46}"
        lines.append(f"{what} {goal.bound():>7}  {verdict}{beside}")
    return lines


def progress(cells: Cells) -> list[str]:
    """A line for each scenario and format that was measured with an earlier commit, too."""
    lines = []
    for (scenario, form), clients in cells.items():
        ours, before = clients.get("shoal"), clients.get("before")
        if ours and before:
            speed, cpu = ours.rate() / before.rate(), ours.cpu_per_gib() / before.cpu_per_gib()
            what = f"{scenario.replace('-', '→'):7}{form:7}{speed:8.2f} times as fast as before"
            lines.append(f"{what}, {cpu:.2f} of its CPU, {ours.memory - before.memory:+.1f} MiB")
    return lines
