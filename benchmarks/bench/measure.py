# SPDX-License-Identifier: Apache-2.0
"""One cell of the tables: a server, what loads it, and what that cost."""

import os
import re
import resource
import select
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from peers import PROGRAMS

TICK = os.sysconf("SC_CLK_TCK")
MOST_OF_OTHERS = 0.05  # of a core


@dataclass(frozen=True)
class Workload:
    name: str
    label: str
    short: str  # for the head of a column
    arguments: tuple  # of echo_load
    server: tuple = ()  # arguments of the server
    one_core: bool = False


WORKLOADS = [
    Workload("ping-pong-1", "ping-pong 64 B, 1 connection, both on one core", "1 conn., one core",
             ("ping-pong", "--connections", "1"), one_core=True),
    Workload("ping-pong-64", "ping-pong 64 B, 64 connections", "64 conn.",
             ("ping-pong",)),
    Workload("ping-pong-1000", "ping-pong 64 B, 1000 connections", "1000 conn.",
             ("ping-pong", "--connections", "1000")),
    Workload("ping-pong-4k", "ping-pong 4 KiB, 64 connections", "4 KiB, 64 conn.",
             ("ping-pong", "--size", "4096")),
    Workload("stream", "stream, 4 connections, 64 KiB chunks", "stream",
             ("stream", "--connections", "4"),
             ("--buffer", "65536")),
    Workload("churn", "churn (connect, echo, close), 64 at a time", "churn",
             ("churn",)),
    Workload("lines", "32 B lines, 16 deep, answered one by one", "lines",
             ("lines",), ("--mode", "lines")),
    Workload("idle", "ping-pong 64 B, 100 connections beside 9,000 idle ones", "beside idle",
             ("idle", "--connections", "100")),
]


def cores():
    """Where the server runs, and where the generator does."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[1 % len(usable)]


def raise_limits():
    """As many open files as are allowed. \\returns how many."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def cpu_of_others(own):
    """CPU seconds that processes other than `own` and the kernel's threads have had, up to now."""
    ticks = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) in own:
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended; its time is its parent's now
        if fields[1] != "2":  # the parent of kernel threads
            ticks += sum(map(int, fields[11:15]))  # with those of its children that have ended
    return ticks / TICK


class Server:
    """A server of a peer's, for as long as the `with` block runs."""

    def __init__(self, peer, arguments=(), core=None, syscalls=None, wrapper=()):
        environment = os.environ | peer.environment
        if syscalls:
            environment |= {"LD_PRELOAD": str(PROGRAMS / "libcount_syscalls.so"),
                            "COUNT_SYSCALLS": syscalls}
        self.peer = peer
        self.process = subprocess.Popen(
            [*wrapper, *peer.command, *arguments], env=environment, stdout=subprocess.PIPE, text=True,
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}))
        self.pid = self.process.pid

    def __enter__(self):
        ready = select.select([self.process.stdout], [], [], 30)[0]
        line = self.process.stdout.readline() if ready else ""
        match = re.match(r"Listening on .*:(\d+)$", line)
        if not match:
            self.__exit__()
            raise RuntimeError(f"{self.peer.name} does not listen: {line!r}")
        self.port = match[1]
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def load(server, arguments, seconds, core=None):
    """Runs the load generator. \\returns what it printed, and the share of a core others had."""
    command = [PROGRAMS / "echo_load", *arguments, "--port", server.port, "--pid", str(server.pid),
               "--seconds", str(seconds)]
    own = {os.getpid(), server.pid}
    before = cpu_of_others(own)
    began = os.times().elapsed
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True,
        preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}))
    printed = process.communicate(timeout=60 + 10 * seconds)[0]
    if process.returncode != 0:
        raise RuntimeError(f"{server.peer.name}: {' '.join(map(str, command))} failed")
    elapsed = os.times().elapsed - began
    result = {name: float(value) for name, value in map(str.split, printed.splitlines())}
    result["others"] = max(0.0, cpu_of_others(own | {process.pid}) - before) / elapsed
    return result


def measure(peer, workload, seconds, attempts):
    """A cell; again, up to `attempts` times in all, when others disturb it. \\returns its least disturbed measurement."""
    server_core, client_core = cores()
    if workload.one_core:
        client_core = server_core
    best = None
    for _ in range(attempts):
        with Server(peer, workload.server, server_core) as server:
            result = load(server, workload.arguments, seconds, client_core)
        if best is None or result["others"] < best["others"]:
            best = result
        if best["others"] <= MOST_OF_OTHERS:
            break
    return best


def count_syscalls(peer, connections, seconds):
    """System calls per message, by name, at full speed; for what does not call through the C library
    only their sum, by perf, under the name `all`; none where that does not work."""
    server_core, client_core = cores()
    arguments = ("ping-pong", "--connections", str(connections))
    if not peer.through_libc:
        return count_by_perf(peer, arguments, seconds)
    with tempfile.NamedTemporaryFile() as file:
        with Server(peer, core=server_core, syscalls=file.name) as server:
            result = load(server, (*arguments, "--syscalls", file.name), seconds, client_core)
    return {name.partition(".")[2]: count / result["operations"]
            for name, count in result.items() if name.startswith("syscalls.")}


def count_instructions(peer, workload, seconds):
    """Instructions in user space per operation, by callgrind; none where that does not work."""
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts"
        valgrind = ("valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={counts}")
        try:
            with Server(peer, workload.server, wrapper=valgrind) as server:
                result = load(server, workload.arguments, seconds)
                server.process.terminate()
                server.process.wait()
        except OSError:
            return None
        total = re.search(r"^totals: (\d+)", counts.read_text(), re.MULTILINE)
    # With those of the tenth of the time that comes first.
    return int(total[1]) / (result["operations"] * 1.1)


def count_by_perf(peer, arguments, seconds):
    # The tenth of the time that comes first is counted here, so both ends are left to the average.
    server_core, client_core = cores()
    with Server(peer, core=server_core) as server:
        load(server, arguments, 0.1, client_core)
        try:
            perf = subprocess.Popen(["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p",
                                     str(server.pid)], stderr=subprocess.PIPE, text=True)
        except OSError:
            return None
        result = load(server, arguments, seconds, client_core)
        perf.send_signal(2)
        counted = perf.communicate()[1].partition(",")[0]
    if not counted.isdigit():
        return None
    return {"all": int(counted) / (result["operations"] * 1.1)}
