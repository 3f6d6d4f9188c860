# SPDX-License-Identifier: Apache-2.0
"""The echo servers that are compared: how each is built, started and called."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/bench"
PROGRAMS = BUILD / "benchmarks"
SERVERS = ROOT / "benchmarks/servers"
CXX_FLAGS = "-O2 -g -DNDEBUG"

TORNADO_SCRIPT = str(SERVERS / "tornado_python/server.py")
VENV_PYTHON = BUILD / "python/bin/python"


@dataclass(frozen=True)
class Peer:
    name: str  # on the command line and in the results
    label: str  # for readers
    command: list
    only: tuple = ()  # the only workloads it takes part in; empty: all
    through_libc: bool = True  # its system calls, so that they can be counted
    environment: dict = field(default_factory=dict)


def program(name, *arguments):
    return [str(PROGRAMS / name), *arguments]


def python_command(variant):
    python = str(VENV_PYTHON) if VENV_PYTHON.exists() else sys.executable
    return [python, TORNADO_SCRIPT, "--variant", variant]


def all_peers():
    return [
        Peer("epoll", "epoll by hand", program("epoll_server")),
        Peer("epoll-batched", "epoll, batched by hand",
             program("epoll_server", "--variant", "batched"), only=("lines",)),
        Peer("tornado-asio", "this library", program("tornado_asio_server")),
        Peer("tornado-asio-awaited", "this library, writes awaited",
             program("tornado_asio_server", "--variant", "awaited")),
        Peer("tornado-asio-buffered", "this library, buffered_writes",
             program("tornado_asio_server", "--variant", "buffered"), only=("lines",)),
        Peer("asio-callbacks", "Asio callbacks", program("asio_callbacks_server")),
        Peer("asio-awaitable", "Asio awaitable", program("asio_awaitable_server")),
        Peer("libuv", "libuv", program("libuv_server")),
        Peer("libevent", "libevent", program("libevent_server")),
        Peer("go", "Go", program("go_server"), through_libc=False,
             environment={"GOMAXPROCS": "1"}),
        Peer("tokio", "tokio", program("tokio_server")),
        Peer("tornado", "Tornado", python_command("asyncio")),
        Peer("tornado-uvloop", "Tornado, uvloop", python_command("uvloop")),
    ]


def say(text):
    print(f"==> {text}", file=sys.stderr, flush=True)


def run(command, **options):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)


def output_of(*command):
    """What a command prints; empty when there is no such command, or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).strip() if done.returncode == 0 else ""


def build_cpp():
    run(["cmake", "--preset", "release", "-B", BUILD, "--log-level=WARNING",
         f"-DCMAKE_CXX_FLAGS_RELEASE={CXX_FLAGS}"], cwd=ROOT, env=os.environ | {"CXX": "g++"})
    run(["cmake", "--build", BUILD, "--target", "benchmarks/all"], cwd=ROOT)


def build_go():
    run(["go", "build", "-o", PROGRAMS / "go_server", "."], cwd=SERVERS / "go")


def build_tokio():
    # In a copy: the newest tokio is wanted, so Cargo.lock is not kept.
    copy = BUILD / "tokio"
    shutil.copytree(SERVERS / "tokio", copy, dirs_exist_ok=True)
    run(["cargo", "build", "--quiet", "--release"], cwd=copy)
    shutil.copy(copy / "target/release/tokio_server", PROGRAMS / "tokio_server")


def build_python():
    """The newest from PyPI. Without it the packages of the system's Python are used."""
    if not VENV_PYTHON.exists():
        run([sys.executable, "-m", "venv", BUILD / "python"])
    try:
        run([VENV_PYTHON, "-m", "pip", "install", "--quiet", "--upgrade", "tornado", "uvloop"])
    except subprocess.CalledProcessError:
        shutil.rmtree(BUILD / "python")
        raise


def build():
    """Builds what can be built. \\returns a line for each thing that cannot."""
    say(f"Building with g++ {CXX_FLAGS}")
    build_cpp()
    missing = []
    for what, step in (("the Go server", build_go), ("the tokio server", build_tokio),
                       ("Tornado and uvloop from PyPI", build_python)):
        say(f"Getting {what}")
        try:
            step()
        except (OSError, subprocess.CalledProcessError) as error:
            missing.append(f"{what}: {error}")
            say(f"Left out: {missing[-1]}")
    return missing


def available(peer):
    """Whether it is there, and can be started."""
    if peer.command[1:2] == [TORNADO_SCRIPT]:
        module = "uvloop" if "uvloop" in peer.command else "tornado"
        return bool(output_of(peer.command[0], "-c", f"import {module}; print(1)"))
    return Path(peer.command[0]).exists()


def versions():
    """What was measured, name to version."""
    python = python_command("asyncio")[0]
    asio = output_of("sh", "-c", "printf '#include <asio/version.hpp>\nASIO_VERSION' | g++ -E -P -xc++ -")
    asio = int(asio.splitlines()[-1]) if asio else 0
    lock = BUILD / "tokio/Cargo.lock"
    tokio = re.search(r'name = "tokio"\nversion = "(.*?)"', lock.read_text() if lock.exists() else "")
    rust = " ".join(output_of("rustc", "--version").split()[:2])
    found = {
        "this library": output_of("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "g++": f"{output_of('g++', '-dumpfullversion')}, {CXX_FLAGS}",
        "Asio": f"{asio // 100000}.{asio // 100 % 1000}.{asio % 100}",
        "libuv": output_of("pkg-config", "--modversion", "libuv"),
        "libevent": output_of("pkg-config", "--modversion", "libevent_core"),
        "Go": output_of("go", "env", "GOVERSION").removeprefix("go"),
        "tokio": f"{tokio[1]}, {rust}" if tokio else "",
        "Tornado": output_of(python, "-c", "import tornado; print(tornado.version)"),
        "uvloop": output_of(python, "-c", "import uvloop; print(uvloop.__version__)"),
        "Python": output_of(python, "-c", "import platform; print(platform.python_version())"),
    }
    return {name: version for name, version in found.items() if version}


def machine():
    """What it was measured on, name to description."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    system = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text())
    return {
        "processor": model[1] if model else os.uname().machine,
        "cores": str(len(os.sched_getaffinity(0))),
        "virtual": "yes" if " hypervisor " in cpuinfo else "no",
        "kernel": os.uname().release,
        "system": system[1] if system else "",
    }
