# SPDX-License-Identifier: Apache-2.0
"""Makes docs/benchmarks.md of the results."""

from statistics import median

from measure import WORKLOADS

REFERENCE = "epoll"


class Summary:
    """What is said of the cells: dictionaries with peer, workload, round and what was measured."""

    def __init__(self, cells):
        self.cells = {}
        for cell in cells:
            self.cells.setdefault((cell["workload"], cell["peer"]), {})[cell["round"]] = cell
        self.workloads = [each for each in WORKLOADS if (each.name, REFERENCE) in self.cells]

    def rounds(self, workload, peer):
        return self.cells.get((workload, peer), {})

    def ratio(self, workload, peer):
        """The median of the throughputs, over the reference's of the same round."""
        ours, theirs = self.rounds(workload, peer), self.rounds(workload, REFERENCE)
        ratios = [rate(ours[i]) / rate(theirs[i]) for i in ours if i in theirs]
        return median(ratios) if ratios else None

    def throughput(self, workload, peer):
        """Operations per second, of the best round."""
        return max(map(rate, self.rounds(workload, peer).values()), default=None)

    def cpu(self, workload, peer):
        """The server's CPU time per operation, in microseconds, of the best round."""
        return min((1e6 * cell["server_cpu"] / cell["operations"]
                    for cell in self.rounds(workload, peer).values()), default=None)

    def cpu_ratio(self, workload, peer):
        ours, theirs = self.cpu(workload, peer), self.cpu(workload, REFERENCE)
        return ours / theirs if ours and theirs else None

    def user(self, workload, peer):
        """The part of cpu() that was not in the kernel: by the shares of all rounds together."""
        cells = self.rounds(workload, peer).values()
        both = sum(cell["server_user"] + cell["server_system"] for cell in cells)
        if both == 0:
            return None
        return self.cpu(workload, peer) * sum(cell["server_user"] for cell in cells) / both

    def memory(self, peer):
        """Bytes per idle connection."""
        return median_of(cell["bytes_per_connection"]
                         for cell in self.rounds("idle", peer).values())

    def disturbed(self, most):
        return sum(cell["others"] > most
                   for rounds in self.cells.values() for cell in rounds.values())

    def count(self):
        return sum(map(len, self.cells.values()))


def rate(cell):
    return cell["operations"] / cell["seconds"]


def median_of(values):
    values = list(values)
    return median(values) if values else None


def number(value, digits=2):
    if value is None:
        return ""
    if digits == 0:
        return f"{value:,.0f}"
    return f"{value:.{digits}f}" if value < 100 else f"{value:.0f}"


def table(head, rows):
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def peer_table(summary, peers, workloads, value):
    """A row for each peer, a column for each workload."""
    rows = [[peer.label, *[value(each.name, peer.name) for each in workloads]] for peer in peers]
    rows = [row for row in rows if any(row[1:])]
    return table(["", *[each.short for each in workloads]], rows)


def workload_list(workloads):
    return "\n".join(f"- {each.short}: {each.label}" for each in workloads)


def syscall_table(peers, syscalls):
    def cell(peer, connections):
        counts = syscalls.get(f"{peer.name} {connections}")
        if not counts:
            return ["n/a", ""]
        names = ", ".join(f"{name} {count:.2f}" for name, count in
                          sorted(counts.items(), key=lambda item: -item[1]) if count >= 0.005)
        return [f"{sum(counts.values()):.2f}", "" if "all" in counts else names]

    rows = [[peer.label, *cell(peer, 1), *cell(peer, 64)] for peer in peers if not peer.only]
    return table(["", "1 connection", "of these", "64 connections", "of these"], rows)


def in_process_table(results):
    """Of {benchmark: [header, row, ...]}, whose columns are the same but for the number."""
    columns = max((rows[0] for rows in results.values()), key=len)[1:]
    for rows in results.values():
        columns += [name for name in rows[0][1:] if name not in columns]
    lines = []
    for rows in results.values():
        for row in rows[1:]:
            values = dict(zip(rows[0][1:], row[1:]))
            lines.append([row[0], *[values.get(name, "") for name in columns]])
    return table(["nanoseconds each", *columns], lines)


def loops_table(loops):
    rows = [[label, *[number(value) for value in values], number(values[1] / values[0])]
            for label, values in loops.items()]
    return table(["us of CPU time per message", "one loop", "two loops", "ratio"], rows)


def page(results, peers, other=None):
    """`other`: the results of another run, to be shown beside."""
    summary = Summary(results["cells"])
    peers = [peer for peer in peers if peer.name in results["peers"]]
    ratio = peer_table(summary, peers, summary.workloads, lambda w, p: number(summary.ratio(w, p)))
    cpu_ratio = peer_table(summary, peers, summary.workloads,
                           lambda w, p: number(summary.cpu_ratio(w, p)))
    cpu = peer_table(summary, peers, summary.workloads, lambda w, p: number(summary.cpu(w, p)))
    user = peer_table(summary, peers, summary.workloads, lambda w, p: number(summary.user(w, p)))
    throughput = peer_table(summary, peers, summary.workloads,
                            lambda w, p: number(summary.throughput(w, p), 0))
    parts = [HEAD.format(
        command=results["command"], date=results["date"],
        rounds=results["rounds"], seconds=results["seconds"], warning=warning(results, summary),
        machine=table(["", ""], [[*each] for each in
                                 [*results["machine"].items(), *results["versions"].items()]]))]
    if results["missing"]:
        parts.append("Left out here:\n\n" + "\n".join(f"- {line}" for line in results["missing"]))
    if summary.workloads:
        parts.append(ECHO.format(workloads=workload_list(summary.workloads), ratio=ratio, cpu_ratio=cpu_ratio, cpu=cpu, user=user,
                                 throughput=throughput))
    if any(each.name == "idle" for each in summary.workloads):
        pieces = results["in_process"]["stream_memory"]
        rows = [[peer.label, number(summary.memory(peer.name), 0)]
                for peer in peers if not peer.only]
        parts.append(MEMORY.format(table=table(["", "bytes per connection"], rows),
                                   pieces=table(pieces[0], pieces[1:])))
    if results["syscalls"]:
        parts.append(SYSCALLS.format(table=syscall_table(peers, results["syscalls"])))
    counts = results["instructions"]
    if any(counts.values()):
        counted = [each for each in summary.workloads
                   if any(name.startswith(each.name + " ") for name in counts)]
        parts.append(INSTRUCTIONS.format(table=peer_table(
            summary, peers, counted,
            lambda w, p: number(counts.get(f"{w} {p}"), 0))))
    tables = {name: rows for name, rows in results["in_process"].items() if name != "stream_memory"}
    if tables:
        parts.append(IN_PROCESS.format(table=in_process_table(tables)))
    if results["scaling"]:
        parts.append(SCALING.format(limit=results["open_files"]))
    if results["loops"]:
        parts.append(LOOPS.format(table=loops_table(results["loops"])))
    if other:
        parts.append(other_run(summary, Summary(other["cells"]), other, peers))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def other_run(summary, second, other, peers):
    def both(value):
        return peer_table(summary, peers, summary.workloads,
                          lambda w, p: " / ".join(number(each) for each in (
                              value(summary, w, p), value(second, w, p)) if each is not None))

    return OTHER.format(command=other["command"], date=other["date"],
                        library=other["versions"]["this library"],
                        ratio=both(Summary.ratio), cpu_ratio=both(Summary.cpu_ratio))


def warning(results, summary):
    text = ""
    if results["quick"]:
        text = "\n**From a quick run: these figures show that the suite works, no more.**\n"
    disturbed = summary.disturbed(0.05)
    if disturbed:
        text += (f"\nOf {summary.count()} cells, {disturbed} were disturbed each time that they were "
                 "measured: other processes took more than 5 % of a core.\n")
    return text


HEAD = """
# Benchmarks

Echo servers on this library and on its peers, each written as its own documentation writes one
(`benchmarks/servers`), loaded by a generator that checks every byte (`benchmarks/load`). Made by
`{command}` on {date}, {rounds} rounds of {seconds} s for each cell.
{warning}
{machine}

All C++ servers, and this library, are compiled with the same flags.

**How to read it.** The server has one core, the generator another. In each round all servers take
their turn at a workload, and what is given is the median of the ratios to the epoll server of the same
round: a machine such as this changes its speed by 20 to 30 % from one stretch to the next.
Differences below 3 % mean nothing. Where a server is fast, the generator is what limits the throughput,
so that the CPU time per operation says more; it is that of the best round. A cell during which other
processes took more than 5 % of a core is measured again. The raw figures are in
[benchmarks/results.json](benchmarks/results.json).

"This library" reads with `co_await stream.read_bytes(65536, Partial::yes)`, or `read_until("\\n")`, and
does not wait for `stream.write`; "writes awaited" does. "buffered_writes" waits too, with the option of
that name, by which a write is done at once while little is buffered. Servers whose users bring the buffer
have one of 4 KiB per connection, or of 64 KiB for the stream.
"""

ECHO = """
## Workloads

{workloads}

## Throughput, over that of epoll by hand

Higher is better.

{ratio}

![Throughput over that of epoll by hand](benchmarks/throughput.svg)

## CPU time of the server per operation, over that of epoll by hand

Lower is better. An operation is a message, for the stream 64 KiB, for churn a connection, for lines a
line.

{cpu_ratio}

![CPU time per operation over that of epoll by hand](benchmarks/cpu.svg)

In microseconds:

{cpu}

And of that in user space, where a library shows. The kernel tells this apart by samples, so small
figures are rough.

{user}

Operations per second, of the best round:

{throughput}
"""

MEMORY = """
## Memory of idle connections

What the server's proportional set size grows by for each of 9,000 connections that were used once and
now wait for more, their handlers and read buffers included. The kernel's memory is not.

{table}

![Bytes per idle connection](benchmarks/memory.svg)

What this library keeps for each (`benchmarks/stream_memory.cpp`): the pieces by what was asked for, the
bytes with what malloc adds.

{pieces}
"""

SYSCALLS = """
## System calls per message

Ping-pong of 64 B at full speed, counted by a shim in front of the C library
(`benchmarks/count_syscalls.cpp`). Go does not call through that: there perf counted all there were, at
a somewhat lower speed.

{table}
"""

INSTRUCTIONS = """
## Instructions per operation

In user space, by callgrind, which slows the servers down, but counts the same on any machine.

{table}
"""

IN_PROCESS = """
## Within one process

The least of several rounds, the libraries taking turns. Timers: while 100,000 others wait.
"Asio+epoll" is an io_context that something waits in, as a loop of this library always is: one that only
runs callbacks never asks epoll.

{table}
"""

SCALING = """
## With more of them

Scheduling and removing one timer while so many wait; one event of one of so many descriptors; a message
of one of 100 connections beside so many idle ones, in CPU time of the server. Descriptors and connections
go as far as the {limit} open files that a process may have here.

![Cost per timer, descriptor and connection](benchmarks/scaling.svg)
"""

LOOPS = """
## Two loops

One loop per thread, each with a listening socket of its own on the same port (SO_REUSEPORT), 64
connections; servers and generator share the cores, so the epoll server shows what of it is the machine's.

{table}
"""

OTHER = """
## Another run

`{command}` on {date}, of this library at {library}; raw figures in
[benchmarks/other.json](benchmarks/other.json). First the run above, then this one: throughput,

{ratio}

and CPU time per operation, both over that of epoll by hand.

{cpu_ratio}
"""
