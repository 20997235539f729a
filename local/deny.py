#!/usr/bin/env python3
"""Checks the crates that Tandem depends on, with cargo-deny. deny.toml has the rules.

    python3 local/deny.py crates        checks versions, licences and sources; works offline
    python3 local/deny.py advisories    checks for known vulnerabilities; needs the network

The first run builds a pinned version of cargo-deny into .local/, which takes minutes and needs the network. "crates"
downloads the crates that Cargo.lock names and this machine lacks, and then works offline. "advisories" downloads the
RustSec advisory database with git into cargo's home folder, and reads from crates.io which of the crates were yanked.
"""

import argparse
import subprocess
import sys

from cargo_tool import CargoTool
from paths import Problem, REPOSITORY

DENY = CargoTool("cargo-deny", "0.20.2", ["--version"])

CHECKS = {
    "crates": ["--locked", "--offline", "check", "bans", "licenses", "sources"],
    "advisories": ["--locked", "check", "advisories"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=CHECKS)
    arguments = parser.parse_args()
    try:
        DENY.install()
        fetch()
        return subprocess.run([DENY.program, *CHECKS[arguments.check]], cwd=REPOSITORY).returncode
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def fetch() -> None:
    """Downloads the crates that this machine lacks, also those of other platforms, because cargo-deny reads them all.

    If none is missing, cargo does not use the network.
    """
    if subprocess.run(["cargo", "fetch", "--locked", "--quiet"], cwd=REPOSITORY).returncode:
        raise Problem("cannot fetch the crates that Cargo.lock names: see cargo's error above. If it says that "
                      "Cargo.lock needs to be updated, build once and commit the new Cargo.lock")


if __name__ == "__main__":
    sys.exit(main())
