"""Test helpers for the local cloud: functions in Python, and requests without a signature."""

import base64
import io
import json
import sys
import urllib.error
import urllib.request
import zipfile

import emulator

# The loop of a custom runtime. `{body}` computes `answer` from `event` and `trace` (the header).
RUNTIME = """#!{python}
import json, os, time, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    invocation = urllib.request.urlopen(api + "next")
    event, trace = json.load(invocation), invocation.headers.get("Lambda-Runtime-Trace-Id")
    answer = None
{body}
    request = invocation.headers["Lambda-Runtime-Aws-Request-Id"]
    urllib.request.urlopen(api + request + "/response", json.dumps(answer).encode())
"""


def make_function(endpoint: str, name: str, body: str, account: str | None = None, **settings) -> None:
    """Creates a function like those of the template; `body` is the inner part of its loop."""
    indented = "".join(f"    {line}\n" for line in body.strip().splitlines())
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        archive.writestr(entry, RUNTIME.format(python=sys.executable, body=indented))
    call(endpoint, "POST", "/2015-03-31/functions", account=account, document={
        "FunctionName": name, "Runtime": "provided.al2023", "Handler": "bootstrap",
        "Role": f"arn:aws:iam::{account or '000000000000'}:role/any",
        "Code": {"ZipFile": base64.b64encode(code.getvalue()).decode()}} | settings)


def call(endpoint: str, method: str, path: str, document=None, *, body: bytes | None = None,
         headers: dict[str, str] | None = None, account: str | None = None) -> tuple[int, bytes]:
    """Returns status and body of the response, also if it is a refusal."""
    headers = dict(headers or {})
    if account:
        headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={account}/20260101/us-east-1/any/aws4_request"
    if document is not None:
        body = json.dumps(document).encode()
    request = urllib.request.Request(endpoint + path, body, headers, method=method)
    try:
        with emulator.open_locally(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read()
