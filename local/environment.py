"""Computes the environments of the local cloud's programs. No I/O.

These environments ensure that no program of the local cloud can reach a real AWS account: not the emulator, its
functions, the strict S3 of the tests, or a program that uses these. They lack all credentials, profiles, regions,
endpoints and proxies of the user, and have dummies and the emulator's own address instead. (The functions inherit the
emulator's environment, and the emulator overrides AWS_ENDPOINT_URL with its own.)
"""

import json
import os

REGION = "us-east-1"
LOOPBACK = "127.0.0.1"

# The variables that a program needs and that have nothing to do with AWS. No other variable is passed on.
KEPT = {"PATH", "LANG", "LANGUAGE", "TZ", "TERM", "USER", "LOGNAME", "LD_LIBRARY_PATH"}


def endpoint(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def aws_variables(port: int) -> dict[str, str]:
    """Returns all variables that an AWS client reads, so that it looks up no setting elsewhere."""
    return {
        "AWS_ENDPOINT_URL": endpoint(port),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "NO_PROXY": "*",
        "no_proxy": "*",
    }


def is_dangerous(name: str) -> bool:
    """Returns whether a variable of the user could lead a client to another account, address or setting."""
    upper = name.upper()
    return (upper.startswith(("AWS_", "TANDEM_", "SAM_", "BOTO", "_LAMBDA", "LAMBDA_", "_X_AMZN"))
            or upper.endswith("_PROXY"))


def for_client(port: int, stack_name: str, strict_s3_url: str | None) -> dict[str, str]:
    """Returns the user's own environment, changed so that it points at the local cloud: for tests, demo, `run`."""
    kept = {name: value for name, value in os.environ.items() if not is_dangerous(name)}
    strict_s3 = {"TANDEM_STRICT_S3_URL": strict_s3_url} if strict_s3_url else {}
    return kept | aws_variables(port) | {"TANDEM_STACK_NAME": stack_name} | strict_s3


def for_tool(port: int, home, temporary) -> dict[str, str]:
    """Returns few of the user's variables, and a HOME of its own: for the emulator, SAM, the bridge, the strict S3."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith("LC_")}
    return kept | aws_variables(port) | {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PYTHONUNBUFFERED": "1",
        "SAM_CLI_TELEMETRY": "0",
    }


def for_emulator(port: int, home, temporary, *, iam: bool, limits: dict[str, int]) -> dict[str, str]:
    """Returns MiniStack's own settings: this machine only, nothing stored on disk, no Docker, no other port.
    With `iam` it enforces policies: the functions may do only what template.yaml allows.
    `limits` are those that differ from AWS's (limits.py)."""
    return for_tool(port, home, temporary) | {
        "BIND_HOST": LOOPBACK,
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": LOOPBACK,
        "MINISTACK_REGION": REGION,
        "DOCKER_HOST": f"unix://{temporary}/no-docker",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "AUTH": str(iam).lower(),
        "LOG_LEVEL": "WARNING",
        "TANDEM_LIMITS": json.dumps(limits),
    }


def for_strict_s3(port: int, home, temporary, root) -> dict[str, str]:
    """Returns LocalStack's own settings: S3 alone, running directly on the machine (not in its container), with no
    DNS server, no Docker, no reports to its makers and no downloads."""
    return for_tool(port, home, temporary) | {
        "FILESYSTEM_ROOT": str(root),
        "GATEWAY_LISTEN": f"{LOOPBACK}:{port}",
        "LOCALSTACK_HOST": f"{LOOPBACK}:{port}",
        "SERVICES": "s3",
        "EAGER_SERVICE_LOADING": "1",
        "OVERRIDE_IN_DOCKER": "0",
        "DNS_ADDRESS": "0",
        "DOCKER_SOCK": f"{temporary}/no-docker",
        "DOCKER_HOST": f"unix://{temporary}/no-docker",
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
    }
