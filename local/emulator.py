"""Starts and stops the emulator (MiniStack) and the metrics bridge of one local cloud."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request

import environment
import machine
import processes
from paths import REPOSITORY, SCRIPTS, Cloud, Problem

DEFAULT_PORT = 4566
START_SECONDS = 60  # the emulator starts in about one; a busy machine may take longer
FREE_PORT_TRIES = 5

_children = []  # keeps the Popen objects, because their processes outlive the code that started them


def start(cloud: Cloud, port: int | None, *, iam: bool = True, limits: dict[str, int] | None = None) -> None:
    """Starts the cloud if it is not up. The default port is a free one; the default limits are AWS's."""
    state = cloud.read_state()
    if is_up(state):
        print(f"the local cloud \"{cloud.name}\" is already up: {environment.endpoint(state['port'])}")
        return
    machine.install("emulator", "sam")
    stop(cloud, quiet=True)  # removes what a dead one has left
    for attempt in range(FREE_PORT_TRIES):
        chosen = port or free_port()
        if port and port_is_taken(port):
            raise Problem(taken(port))
        last = port is not None or attempt == FREE_PORT_TRIES - 1
        if start_on(cloud, chosen, iam=iam, limits=limits or {}, last=last):
            break
    print(f'the local cloud "{cloud.name}" is up: {environment.endpoint(chosen)}')


def start_on(cloud: Cloud, port: int, *, iam: bool, limits: dict[str, int], last: bool) -> bool:
    """Starts both processes. Returns False if another program has taken the port first."""
    for folder in (cloud.home, cloud.temporary):
        folder.mkdir(parents=True, exist_ok=True)
    process = spawn(cloud, "emulator", [machine.program("emulator", "python"), SCRIPTS / "emulator_server.py"],
                    environment.for_emulator(port, cloud.home, cloud.temporary, iam=iam, limits=limits))
    cloud.write_state({"port": port, "emulator": processes.identify(process.pid)})
    deadline = time.monotonic() + START_SECONDS
    while not is_healthy(port) or process.poll() is not None:
        if process.poll() is not None:
            if not last and port_is_taken(port):
                return False
            raise Problem(f"cannot start the local cloud: the emulator ended at once:\n{tail(cloud, 'emulator')}")
        if time.monotonic() > deadline:
            stop(cloud, keep_logs=True, quiet=True)
            raise Problem(f"cannot start the local cloud: the emulator did not answer within {START_SECONDS} s:\n"
                          f"{tail(cloud, 'emulator')}")
        time.sleep(0.05)
    bridge = spawn(cloud, "metrics-bridge",
                   [machine.program("emulator", "python"), SCRIPTS / "metrics_bridge.py", str(process.pid)],
                   environment.for_tool(port, cloud.home, cloud.temporary))
    cloud.write_state(cloud.read_state() | {"metrics-bridge": processes.identify(bridge.pid)})
    return True


def stop(cloud: Cloud, *, keep_logs: bool = False, quiet: bool = False) -> None:
    """Ends the cloud's processes, including the functions that they run, and removes its state."""
    state = cloud.read_state()
    for name in ("strict-s3", "metrics-bridge", "emulator"):
        if name in state:
            processes.end(state[name])
    cloud.state_file.unlink(missing_ok=True)
    if keep_logs:
        for left in (cloud.home, cloud.temporary):
            shutil.rmtree(left, ignore_errors=True)
    else:
        shutil.rmtree(cloud.folder, ignore_errors=True)
    if not quiet:
        print(f'the local cloud "{cloud.name}" is {"down" if state else "not up"}')


def describe(cloud: Cloud) -> str:
    state = cloud.read_state()
    if not is_up(state):
        return f"died; see {cloud.log('emulator').relative_to(REPOSITORY)}, " \
               f"then run: python3 local/cloud.py down --name {cloud.name}"
    stack = state.get("stack")
    return (f"{environment.endpoint(state['port'])}, process {state['emulator']['pid']}, "
            + (f"stack {stack}" if stack else "nothing deployed"))


def require_up(cloud: Cloud) -> dict:
    state = cloud.read_state()
    if not is_up(state):
        raise Problem(f'the local cloud "{cloud.name}" is not up. Start it with: '
                      f"python3 local/cloud.py up --name {cloud.name}")
    return state


def is_up(state: dict) -> bool:
    return "emulator" in state and processes.is_alive(state["emulator"]) and is_healthy(state["port"])


def is_healthy(port: int) -> bool:
    try:
        with open_locally(f"{environment.endpoint(port)}/_ministack/health") as answer:
            return bool(json.load(answer).get("services"))
    except (OSError, ValueError):
        return False


def open_locally(request, timeout: float = 10):
    """Opens a URL without the user's proxies."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout)


def spawn(cloud: Cloud, name: str, command: list, variables: dict[str, str]) -> subprocess.Popen:
    """Starts a process in a session of its own, so that Ctrl-C in the terminal does not reach it."""
    with open(cloud.log(name), "ab") as log:
        process = subprocess.Popen([str(part) for part in command], env=variables, cwd=cloud.temporary,
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    _children.append(process)
    return process


def tail(cloud: Cloud, what: str, lines: int = 15) -> str:
    text = cloud.log(what).read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in text)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((environment.LOOPBACK, 0))
        return listener.getsockname()[1]


def port_is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((environment.LOOPBACK, port)) == 0


def taken(port: int) -> str:
    """Returns a message that names the program on the port, as far as it can be found out."""
    for other in Cloud.all():
        state = other.read_state()
        if state.get("port") == port and is_up(state):
            return (f'port {port} belongs to the local cloud "{other.name}". Stop it with: '
                    f"python3 local/cloud.py down --name {other.name}, or choose another: --port {port + 1}")
    owner = processes.listener(port)
    if owner is None and is_healthy(port):
        owner = "another MiniStack (of another checkout?)"
    return (f"port {port} is taken by {owner or 'another program'}. Stop it, or choose another port: "
            f"make local PORT={port + 1}, or: python3 local/cloud.py up --port {port + 1}")
