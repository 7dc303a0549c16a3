"""The one table of `make bench`."""

from figures import Figures
from goals import Cells

TITLES = f"{'':8}{'format':8}{'client':12}{'wall s':>8}{'MiB/s':>8}{'CPU s':>8}{'per GiB':>9}{'speed':>8}{'CPU':>7}{'seed MiB':>10}{'leecher MiB':>13}"
LEGEND = (
    "1→4: all four leechers, MiB/s together. CPU s: all ends together; per GiB: of verified data. speed and CPU: against\n"
    "libtorrent's MiB/s and CPU per GiB in the same run. Memory: the largest resident set of a seed, and of a leecher (or of\n"
    "the one process that creates or verifies)."
)


def render(cells: Cells) -> str:
    lines, above = [TITLES], ""
    for (scenario, form), clients in cells.items():
        if scenario != above and above:
            lines.append("")
        for name, figures in clients.items():
            lines.append(row(scenario, form, name, figures, clients.get("libtorrent")))
        above = scenario
    return "\n".join([*lines, "", LEGEND])


def row(scenario: str, form: str, name: str, figures: Figures, libtorrent: Figures | None) -> str:
    cells = f"{scenario.replace('-', '→'):8}{form:8}{name:12}{figures.wall:8.2f}{figures.rate():8.0f}"
    cells += f"{figures.cpu:8.2f}{figures.cpu_per_gib():9.2f}"
    if libtorrent:
        speed, cpu = figures.rate() / libtorrent.rate(), figures.cpu_per_gib() / libtorrent.cpu_per_gib()
        cells += f"{speed:8.2f}{cpu:7.2f}"
    else:
        cells += f"{'':15}"
    seed = f"{figures.seed_memory:10.0f}" if figures.seed_memory else f"{'–':>10}"
    return cells + seed + f"{figures.memory:13.0f}"
