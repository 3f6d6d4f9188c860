# SPDX-License-Identifier: Apache-2.0
"""Draws docs/benchmarks/*.svg of the results."""

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "tornado",  # the same data make the same file
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
})

import matplotlib.pyplot as plt  # noqa: E402

from report import Summary  # noqa: E402

OURS, REFERENCE, OTHERS = "#c2410c", "#525252", "#94a3b8"


def colour(peer):
    if peer.name.startswith("tornado-asio"):
        return OURS
    return REFERENCE if peer.name.startswith("epoll") else OTHERS


def save(figure, folder, name):
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


def bars(axis, peers, values, title, text="{:.2f}"):
    """A bar for each peer that has a value, the first at the top."""
    shown = [(peer, value) for peer, value in zip(peers, values) if value is not None]
    places = range(len(shown), 0, -1)
    drawn = axis.barh(list(places), [value for _, value in shown],
                      color=[colour(peer) for peer, _ in shown])
    axis.bar_label(drawn, [text.format(value) for _, value in shown], padding=2, fontsize=8)
    axis.set_yticks(list(places), [peer.label for peer, _ in shown])
    axis.set_title(title, fontsize=9, loc="left")
    axis.margins(x=0.15)


def per_workload(peers, summary, value, folder, name):
    columns = 2
    rows = -(-len(summary.workloads) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(11, 2.9 * rows), squeeze=False,
                                layout="constrained")
    for axis in axes.flat[len(summary.workloads):]:
        axis.set_visible(False)
    for axis, workload in zip(axes.flat, summary.workloads):
        bars(axis, peers, [value(workload.name, peer.name) for peer in peers], workload.label)
        axis.axvline(1, color=REFERENCE, linewidth=0.8, linestyle=":")
    save(figure, folder, name)


def memory(peers, summary, folder):
    figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
    bars(axis, peers, [summary.memory(peer.name) for peer in peers],
         "bytes of server memory per idle connection", "{:,.0f}")
    save(figure, folder, "memory")


def scaling(series, folder):
    figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
    for (label, points), marker in zip(series.items(), "osD"):
        axis.plot([x for x, _ in points], [y for _, y in points], marker=marker, label=label)
    axis.set(xscale="log", yscale="log", xlabel="how many there are", ylabel="nanoseconds each")
    axis.set_ylim(bottom=10)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    save(figure, folder, "scaling")


def draw(results, peers, folder):
    summary = Summary(results["cells"])
    peers = [peer for peer in peers if peer.name in results["peers"]]
    folder.mkdir(exist_ok=True)
    if summary.workloads:
        per_workload(peers, summary, summary.ratio, folder, "throughput")
        per_workload(peers, summary, summary.cpu_ratio, folder, "cpu")
    if any(each.name == "idle" for each in summary.workloads):
        memory(peers, summary, folder)
    if results["scaling"]:
        scaling(results["scaling"], folder)
