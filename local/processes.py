"""Identifies processes by id and start time, because another process may have the same id later."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

END_SECONDS = 5


def identify(pid: int) -> dict:
    return {"pid": pid, "started": start_time(pid)}


def is_alive(identity: dict) -> bool:
    """Returns whether the id still belongs to that process, and the process is not a zombie."""
    return identity["started"] is not None and start_time(identity["pid"]) == identity["started"]


def end(identity: dict) -> None:
    """Ends a process that leads its own group, and its group: with SIGTERM, then with SIGKILL."""
    if not is_alive(identity):
        return
    group = identity["pid"]
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):  # macOS raises the latter for a group of zombies
            return
        deadline = time.monotonic() + END_SECONDS
        while time.monotonic() < deadline:
            reap(group)
            if not group_exists(group):
                return
            time.sleep(0.02)


def reap(pid: int) -> None:
    """Collects the process if it is a child of this one, because a zombie keeps its group in existence."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def start_time(pid: int) -> str | None:
    """Returns when the process started, in the system's own form, or None if there is no such process."""
    try:
        # The name is in parentheses and may contain anything. After it, field 3 is the state, and field 22 the start in
        # clock ticks since boot.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    answer = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True)
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def listener(port: int) -> str | None:
    """Returns the program that listens on a port, such as "nginx (process 123)", or None if it cannot be found out."""
    if not shutil.which("lsof"):
        return listener_from_proc(port)
    answer = subprocess.run(["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"],
                            capture_output=True, text=True)
    found = {line[0]: line[1:] for line in answer.stdout.splitlines() if line}
    return f"{found['c']} (process {found['p']})" if {"c", "p"} <= found.keys() else None


def listener_from_proc(port: int) -> str | None:
    sockets = set()
    for table in ("tcp", "tcp6"):
        try:
            rows = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # 0A is LISTEN
                sockets.add(f"socket:[{fields[9]}]")
    for handle in Path("/proc").glob("[0-9]*/fd/*") if sockets else ():
        try:
            if os.readlink(handle) in sockets:
                process = handle.parent.parent
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:  # another user's process, or it has ended
            continue
    return None
