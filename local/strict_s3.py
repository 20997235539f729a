"""Starts a second S3 for tests beside the emulator: LocalStack's, which has much that the emulator lacks.

It belongs to a local cloud, and ends with it (emulator.stop). Nothing is deployed into it; tests find
its address in TANDEM_STRICT_S3_URL. docs/decisions/0015-strict-s3.md lists how it differs from S3.
"""

import json
import time

import emulator
import environment
import machine
import processes
from paths import SCRIPTS, Cloud, Problem

NAME = "strict-s3"
START_SECONDS = 120  # the first start takes about eight seconds, later ones two; a busy machine may take longer


def start(cloud: Cloud) -> None:
    """Starts it beside a cloud that is up, and does not wait, because deploying takes longer."""
    machine.install(NAME)
    spawn(cloud, emulator.free_port())


def await_healthy(cloud: Cloud) -> None:
    for last in [False] * (emulator.FREE_PORT_TRIES - 1) + [True]:
        if is_started(cloud):
            break
        if last or not emulator.port_is_taken(cloud.read_state()[NAME]["port"]):
            raise Problem(f"cannot start the strict S3: it ended at once:\n{emulator.tail(cloud, NAME)}")
        spawn(cloud, emulator.free_port())  # another program has taken the port first
    print(f"the strict S3 is up: {url(cloud.read_state())}")


def is_started(cloud: Cloud) -> bool:
    """Waits until it answers. Returns False if it ended instead."""
    state = cloud.read_state()[NAME]
    deadline = time.monotonic() + START_SECONDS
    while processes.is_alive(state):
        if is_healthy(state["port"]) and processes.is_alive(state):
            return True
        if time.monotonic() > deadline:
            raise Problem(f"cannot start the strict S3: it did not answer within {START_SECONDS} s:\n"
                          f"{emulator.tail(cloud, NAME)}")
        time.sleep(0.05)
    return False


def spawn(cloud: Cloud, port: int) -> None:
    root = cloud.temporary / NAME
    share_cache(root)
    process = emulator.spawn(cloud, NAME, [machine.program(NAME, "python"), SCRIPTS / "strict_s3_server.py"],
                             environment.for_strict_s3(port, cloud.home, cloud.temporary, root))
    cloud.write_state(cloud.read_state() | {NAME: processes.identify(process.pid) | {"port": port}})


def share_cache(root) -> None:
    """Keeps the files of its first start (an index, a certificate) for later starts."""
    cache, kept = root / "var/lib/localstack/cache", machine.venv(NAME) / "cache"
    for folder in (cache.parent, kept):
        folder.mkdir(parents=True, exist_ok=True)
    if not cache.is_symlink():
        cache.symlink_to(kept)


def is_healthy(port: int) -> bool:
    try:
        with emulator.open_locally(f"{environment.endpoint(port)}/_localstack/health") as answer:
            return json.load(answer)["services"]["s3"] == "running"
    except (OSError, ValueError, KeyError):
        return False


def url(state: dict) -> str | None:
    return environment.endpoint(state[NAME]["port"]) if NAME in state else None
