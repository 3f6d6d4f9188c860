# SPDX-License-Identifier: Apache-2.0
"""Measures this library beside its peers: scripts/bench."""

import argparse
import datetime
import json
import re
import subprocess
import sys
from pathlib import Path

import peers as peer_module
from measure import (WORKLOADS, Server, count_instructions, count_syscalls, load, measure,
                     raise_limits)
from peers import PROGRAMS, ROOT, all_peers, available, machine, say, versions

DOCS = ROOT / "docs"
IN_PROCESS = ("coroutine_benchmark", "callbacks_benchmark", "timers_benchmark")
EXTRAS = ("syscalls", "instructions", "in-process", "scaling", "loops")
# Whose instructions are counted: not those that bring a runtime of their own.
COUNTED = ("epoll", "epoll-batched", "tornado-asio", "tornado-asio-awaited", "asio-callbacks",
           "asio-awaitable", "libuv", "libevent")


def parse_arguments():
    names = [peer.name for peer in all_peers()]
    workloads = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures this library beside its peers, and writes docs/benchmarks.md.")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true",
                        help="3 rounds of 0.3 s: about 5 minutes (the default)")
    length.add_argument("--full", action="store_true",
                        help="15 rounds of 1 s, for the published tables: 45 minutes and more")
    parser.add_argument("--rounds", type=int, metavar="N", help="another number of rounds")
    parser.add_argument("--peers", metavar="NAME,...", default=",".join(names),
                        help=f"of {', '.join(names)}; epoll is always among them")
    parser.add_argument("--workloads", metavar="NAME,...", default=",".join([*workloads, *EXTRAS]),
                        help=f"of {', '.join([*workloads, *EXTRAS])}")
    parser.add_argument("--output", metavar="FOLDER", type=Path, default=DOCS,
                        help="where benchmarks.md and benchmarks/ go (default: docs)")
    parser.add_argument("--from", metavar="FILE", dest="source", type=Path,
                        help="measure nothing: make the page and the charts of a results.json")
    parser.add_argument("--beside", metavar="FILE", type=Path,
                        help="the results.json of another run, whose ratios are shown beside")
    arguments = parser.parse_args()
    arguments.peers = {"epoll", *arguments.peers.split(",")}
    arguments.workloads = set(arguments.workloads.split(","))
    for unknown in (arguments.peers - {*names}) | (arguments.workloads - {*workloads, *EXTRAS}):
        parser.error(f"there is no {unknown}")
    return arguments


def measure_cells(peers, workloads, rounds, seconds, attempts):
    cells = []
    for number in range(rounds):
        for workload in workloads:
            say(f"Round {number + 1} of {rounds}: {workload.label}")
            # Whoever comes first in one round does not in the next.
            start = number % len(peers)
            for peer in peers[start:] + peers[:start]:
                if peer.only and workload.name not in peer.only:
                    continue
                result = measure(peer, workload, seconds, attempts)
                cells.append({"workload": workload.name, "peer": peer.name, "round": number,
                              **result})
    return cells


def columns_of(program):
    """What a program prints: a list of rows, the columns two spaces or more apart."""
    say(f"Running {program}")
    done = subprocess.run([PROGRAMS / program], check=True, capture_output=True, text=True)
    return [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()]


def measure_scaling(peers, limit, seconds):
    """Points (how many, nanoseconds) by what there are so many of."""
    series = {"timers": [], "descriptors": [], "connections": []}
    for (line,) in columns_of("scaling_benchmark"):
        what, count, nanoseconds = line.split()
        series[what + "s"].append((int(count), float(nanoseconds)))
    ours = next((peer for peer in peers if peer.name == "tornado-asio"), None)
    idle = next(workload for workload in WORKLOADS if workload.name == "idle")
    for exponent in range(2, 7):
        count = 10**exponent
        if ours is None or count > limit - 500:
            break
        say(f"{count} idle connections")
        with Server(ours) as server:
            result = load(server, (*idle.arguments, "--idle", str(count)), seconds)
        series["connections"].append((count, 1e9 * result["server_cpu"] / result["operations"]))
    return {what: points for what, points in series.items() if points}


def measure_loops(peers, rounds, seconds):
    """By server, the least CPU time per message with one loop and with two, in microseconds."""
    results = {}
    for number in range(rounds):
        for peer in peers:
            if peer.name not in ("epoll", "tornado-asio", "asio-callbacks"):
                continue
            least = results.setdefault(peer.label, [float("inf")] * 2)
            for loops in (1, 2):
                say(f"Round {number + 1} of {rounds}: {peer.label}, {loops} loops")
                with Server(peer, ("--loops", str(loops))) as server:
                    result = load(server, ("ping-pong",), seconds)
                cost = 1e6 * result["server_cpu"] / result["operations"]
                least[loops - 1] = min(least[loops - 1], cost)
    return results


def run(arguments):
    rounds, seconds, attempts = (15, 1.0, 10) if arguments.full else (3, 0.3, 2)
    rounds = arguments.rounds or rounds
    missing = peer_module.build()
    peers = []
    for peer in all_peers():
        if peer.name not in arguments.peers:
            continue
        if available(peer):
            peers.append(peer)
        else:
            missing.append(f"{peer.label}: not here")
            say(missing[-1])
    limit = raise_limits()
    wanted = arguments.workloads
    workloads = [workload for workload in WORKLOADS if workload.name in wanted]
    results = {
        "command": "scripts/bench " + ("--full" if arguments.full else "--quick")
                   + (f" --rounds {rounds}" if arguments.rounds else ""),
        "quick": not arguments.full,
        "date": datetime.date.today().isoformat(),
        "rounds": rounds,
        "seconds": seconds,
        "open_files": limit,
        "machine": machine(),
        "versions": versions(),
        "missing": missing,
        "peers": [peer.name for peer in peers],
        "cells": measure_cells(peers, workloads, rounds, seconds, attempts),
        "syscalls": {},
        "instructions": {},
        "in_process": {},
        "scaling": {},
        "loops": {},
    }
    if "syscalls" in wanted:
        say("Counting system calls")
        for peer in peers:
            for connections in (1, 64):
                if not peer.only:
                    results["syscalls"][f"{peer.name} {connections}"] = count_syscalls(
                        peer, connections, seconds)
    if "instructions" in wanted:
        say("Counting instructions")
        for workload in workloads:
            for peer in peers:
                if (peer.name in COUNTED and workload.name not in ("ping-pong-1", "idle")
                        and (not peer.only or workload.name in peer.only)):
                    results["instructions"][f"{workload.name} {peer.name}"] = count_instructions(
                        peer, workload, 1.0)
    if "in-process" in wanted:
        results["in_process"] = {name: columns_of(name) for name in IN_PROCESS}
    if "idle" in wanted:
        results["in_process"]["stream_memory"] = columns_of("stream_memory")
    if "scaling" in wanted:
        results["scaling"] = measure_scaling(peers, limit, seconds)
    if "loops" in wanted:
        results["loops"] = measure_loops(peers, rounds, seconds)
    return results


def write_json(results, file):
    cells = ",\n".join("  " + json.dumps(cell) for cell in results["cells"])
    text = json.dumps(results | {"cells": "CELLS"}, indent=1).replace('"CELLS"', f"[\n{cells}\n]")
    file.write_text(text + "\n")


def write(results, other, folder):
    import charts
    import report

    (folder / "benchmarks").mkdir(parents=True, exist_ok=True)
    write_json(results, folder / "benchmarks/results.json")
    if other:
        write_json(other, folder / "benchmarks/other.json")
    charts.draw(results, all_peers(), folder / "benchmarks")
    (folder / "benchmarks.md").write_text(report.page(results, all_peers(), other))
    say(f"Written: {folder / 'benchmarks.md'}")


def main():
    arguments = parse_arguments()
    if arguments.source:
        results = json.loads(arguments.source.read_text())
    else:
        results = run(arguments)
    other = json.loads(arguments.beside.read_text()) if arguments.beside else None
    write(results, other, arguments.output)


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench: {error}")
