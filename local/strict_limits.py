"""Makes MiniStack enforce limits of AWS that it lacks or enforces differently. emulator_server.py calls it.

- Lambda's recursive-loop detection by trace header (lineage.py), for chains through SQS, SNS, S3 and Invoke.
- Account concurrency by account and region. A throttled batch of a queue is retried until its visibility timeout ends;
  then its messages are back in the queue, and their receive count is one higher.
- The in-flight limit of standard queues.
- `aws:ResourceAccount` and `s3:ResourceAccount` of a bucket: its owner, not the caller.
- S3's limits on user metadata and on parts; and, if a test asks for it, late notifications in any order.
"""

import contextvars
import functools
import json
import random
import threading
import time
from xml.etree import ElementTree

import limits as values
import lineage

# The trace header of the present HTTP request; work that the request starts inherits it.
_of_request = contextvars.ContextVar("tandem_trace_of_request", default=None)
# The trace header of the events of the present invocation.
_of_events = contextvars.ContextVar("tandem_trace_of_events", default=None)
# Whether recursive-loop detection has stopped the present asynchronous invocation.
_is_stopped = contextvars.ContextVar("tandem_is_stopped", default=False)
# Until when a throttled invocation is retried.
_retry_until = contextvars.ContextVar("tandem_retry_until", default=0.0)
_is_short_poll = contextvars.ContextVar("tandem_is_short_poll", default=False)

THROTTLE_PAUSE_SECONDS = 0.05
THROTTLE_PAUSE_SECONDS_MAX = 2.0


def install(limits: values.Limits) -> None:
    """Changes the modules of MiniStack. Has to be called once, before MiniStack serves requests."""
    from ministack import app
    from ministack.core import iam_evaluator
    from ministack.services import eventbridge, lambda_svc, s3, sqs
    from ministack.services.cloudformation import provisioners

    app.app = serve(app.app, limits)
    trace_messages(sqs, eventbridge)
    pass_chains_on(lambda_svc)
    stop_invocations(lambda_svc)
    stop_batches(lambda_svc)
    read_recursion_settings(provisioners, lambda_svc)
    limit_concurrency(lambda_svc, limits)
    retry_throttled(lambda_svc)
    limit_in_flight(sqs, limits)
    know_bucket_owners(iam_evaluator, s3)
    limit_metadata(s3, limits)
    limit_parts(s3, limits)
    delay_notifications(s3, limits)


def instead_of(module, name):
    """Returns a decorator: the function replaces the module's one, and gets the replaced one as its first argument."""

    def replace(function):
        original = getattr(module, name)

        @functools.wraps(original)
        def replacement(*arguments, **named):
            return function(original, *arguments, **named)

        setattr(module, name, replacement)
        return replacement

    return replace


def serve(application, limits):
    """Wraps the application: stores the trace header of each request, and serves the limits at their own path."""

    async def strict(scope, receive, send):
        if scope["type"] != "http":
            return await application(scope, receive, send)
        if scope["path"] == values.PATH:
            return await answer(limits, scope["method"], receive, send)
        sent = [value for name, value in scope["headers"] if name.lower() == b"x-amzn-trace-id"]
        _of_request.set(sent[0].decode("latin-1") if sent else None)
        return await application(scope, receive, send)

    return strict


async def answer(limits, method, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    status, document = limits.answer(method, body)
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})


# ---- Recursive loops -----------------------------------------------------------------------------


def trace_messages(sqs, eventbridge):
    """Gives each message the trace header of the request that led to it, unless it has another."""

    @instead_of(sqs, "_build_send_sys_attrs")
    def attributes_of_sent(original, *arguments):
        return traced(original(*arguments))

    @instead_of(sqs, "_ensure_msg_fields")
    def complete(original, message):  # of S3 and SNS
        is_new = "sys" not in message
        original(message)
        if is_new:
            traced(message["sys"])

    def traced(attributes):
        if _of_request.get():
            attributes.setdefault("AWSTraceHeader", _of_request.get())
        return attributes

    @instead_of(eventbridge, "_dispatch_event")
    def dispatch(original, *arguments, **named):  # EventBridge is not among the services whose loops are detected
        token = _of_request.set(None)
        try:
            return original(*arguments, **named)
        finally:
            _of_request.reset(token)


def pass_chains_on(lambda_svc):
    """Gives every invocation the trace header that continues the chain of its events."""

    @instead_of(lambda_svc, "_xray_trace_id_for_invocation")
    def trace_id(_original, config, inbound=None):
        is_sampled = (config.get("TracingConfig") or {}).get("Mode") == "Active"
        return lineage.continued(inbound or chain(), config.get("FunctionArn", ""), is_sampled)


def chain():
    """Returns the header of the events that are about to invoke a function."""
    return _of_events.get() or _of_request.get()


def is_to_stop(lambda_svc, name, header):
    """Returns whether the function was invoked too often in this chain to be invoked again. Counts the metric if so."""
    function = lambda_svc._functions.get(name)
    if function is None:
        return False
    depth = lineage.invocations(header, lambda_svc._func_arn(name)) + 1
    return lambda_svc._recursive_loop_drop(name, function, depth) is not None


def stop_invocations(lambda_svc):
    """Stops loops of invocations by request: Invoke, and those by S3 and SNS. For Invoke, MiniStack itself counts with
    a header of its own, which only some SDKs send."""
    lambda_svc.MAX_INVOKE_DEPTH = lineage.INVOCATIONS_MAX

    @instead_of(lambda_svc, "_invoke")
    async def invoke(original, name, event, headers, *arguments, **named):
        header = headers.get("x-amzn-trace-id")
        _of_events.set(header)
        kind = headers.get("x-amz-invocation-type", "RequestResponse")
        if kind == "RequestResponse" and name in lambda_svc._functions:
            before = lineage.invocations(header, lambda_svc._func_arn(name))
            headers = {**headers, lambda_svc._INVOKE_DEPTH_HEADER: str(before)}
        return await original(name, event, headers, *arguments, **named)

    @instead_of(lambda_svc, "invoke_async_with_retry")
    def invoke_async(original, function, event):
        name = (function.get("config") or function).get("FunctionName", "")
        token = _is_stopped.set(is_to_stop(lambda_svc, name, chain()))
        try:
            return original(function, event)  # it continues in a thread that inherits this
        finally:
            _is_stopped.reset(token)

    @instead_of(lambda_svc, "_execute_function")
    def execute(original, function, event):
        if not _is_stopped.get():
            return original(function, event)
        document = {"errorType": "RecursiveInvocationException", "errorMessage": "recursive loop detected"}
        return {"error": True, "body": document, "log": ""}


def stop_batches(lambda_svc):
    """Does not deliver messages of a loop. They return after their visibility timeout, until the queue's redrive
    policy ends that: "Lambda continues to retry the message, and continues to block function invocations, until
    Amazon SQS determines that the maxReceiveCount is exceeded"."""

    @instead_of(lambda_svc, "_run_sqs_batch")
    def run(original, mapping, function, event, batch, *queue):
        headers = {record["messageId"]: record["attributes"].get("AWSTraceHeader") for record in event["Records"]}
        name = mapping["FunctionName"]
        arn = lambda_svc._func_arn(name)
        over = {message for message, header in headers.items()
                if lineage.invocations(header, arn) >= lineage.INVOCATIONS_MAX}
        if over and is_to_stop(lambda_svc, name, lineage.joined([headers[message] for message in over])):
            event = {"Records": [record for record in event["Records"] if record["messageId"] not in over]}
            batch = [message for message in batch if message["id"] not in over]
        if not event["Records"]:
            mapping["LastProcessingResult"] = "FAILED"
            return None
        _of_events.set(lineage.joined([headers[record["messageId"]] for record in event["Records"]]))
        _retry_until.set(min(message["visible_at"] for message in batch))
        return original(mapping, function, event, batch, *queue)


def read_recursion_settings(provisioners, lambda_svc):
    """Reads a function's CloudFormation property RecursiveLoop, which MiniStack ignores."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]

    def read(handler, properties_at):
        @functools.wraps(handler)
        def reading(*arguments, **named):
            done = handler(*arguments, **named)
            wanted = arguments[properties_at].get("RecursiveLoop", "Terminate")
            status, _, body = lambda_svc._put_function_recursion_config(done[0], {"RecursiveLoop": wanted})
            if status >= 400:
                raise ValueError(f"AWS::Lambda::Function RecursiveLoop {wanted!r}: {body!r}")
            return done

        return reading

    # create(logical_id, properties, ...); update(physical_id, old_properties, new_properties, ...).
    handlers["create"] = read(handlers["create"], 1)
    handlers["update"] = read(handlers["update"], 2)


# ---- Concurrency ---------------------------------------------------------------------------------


def limit_concurrency(lambda_svc, limits):
    lambda_svc._ACCOUNT_CONCURRENCY_CAP = 0  # MiniStack's own limit, for all accounts and regions together
    lock = threading.Lock()

    @instead_of(lambda_svc, "_acquire_execution_slot")
    def acquire(original, function, config):
        scope = lambda_svc._inflight_key(config).rpartition(":")[0]
        with lock:
            _, running = lambda_svc.executions_in_flight()
            of_account = sum(count for key, count in running.items() if key.rpartition(":")[0] == scope)
            if of_account >= concurrency_of(scope):
                return None, "account"
            return original(function, config)

    @instead_of(lambda_svc, "_throttle_response")
    def throttled(original, reason_code, msg, **named):
        return original(reason_code=reason_code, msg="Rate Exceeded.", **named)

    @instead_of(lambda_svc, "_get_account_settings")
    def settings(original):
        status, headers, body = original()
        document = json.loads(body)
        of_account = document["AccountLimit"]
        reserved = of_account["ConcurrentExecutions"] - of_account["UnreservedConcurrentExecutions"]
        concurrency = concurrency_of(f"{lambda_svc.get_account_id()}:{lambda_svc.get_region()}")
        of_account["ConcurrentExecutions"] = concurrency
        of_account["UnreservedConcurrentExecutions"] = max(concurrency - reserved, 0)
        return status, headers, json.dumps(document).encode()

    def concurrency_of(scope):
        return limits.get("account_concurrency", scope, scope.partition(":")[0])


def retry_throttled(lambda_svc):
    """Retries a throttled batch. "Lambda continues to retry the message until the message's timestamp exceeds your
    queue's visibility timeout, at which point Lambda drops the message" (Lambda operator guide, "Handling errors for an
    SQS event source")."""

    @instead_of(lambda_svc, "_execute_function")
    def execute(original, function, event):
        pause = THROTTLE_PAUSE_SECONDS
        result = original(function, event)
        while result.get("throttle") and time.time() + pause < _retry_until.get():
            time.sleep(pause)
            pause = min(2 * pause, THROTTLE_PAUSE_SECONDS_MAX)
            result = original(function, event)
        return result


# ---- Queues --------------------------------------------------------------------------------------


def limit_in_flight(sqs, limits):
    """Limits the messages in flight. "If you reach this quota while using short polling, Amazon SQS returns the
    OverLimit error message. If you use long polling, Amazon SQS returns no error messages" (SQS developer guide, "Amazon
    SQS standard queue quotas"). Lambda uses long polling."""

    @instead_of(sqs, "_collect_msgs")
    def collect(original, queue, wanted, visibility):
        limit = limits.get("in_flight_messages", queue["name"])
        if queue["is_fifo"] or len(queue["messages"]) <= limit:
            return original(queue, wanted, visibility)
        now = time.time()
        in_flight = sum(message.get("receive_count", 0) > 0 and message["visible_at"] > now
                        for message in queue["messages"])
        if in_flight >= limit and _is_short_poll.get():
            raise sqs._Err("OverLimit", f"{in_flight} messages of {queue['name']} are in flight; {limit} may be", 403)
        return original(queue, min(wanted, max(limit - in_flight, 0)), visibility)

    async def receive(data, url):
        queue = sqs._get_q(data.get("QueueUrl", url))
        wait = data.get("WaitTimeSeconds")
        wait = wait if wait is not None else queue["attributes"].get("ReceiveMessageWaitTimeSeconds", "0")
        _is_short_poll.set(int(wait) == 0)
        return await original_receive(data, url)

    original_receive = sqs._HANDLERS["ReceiveMessage"]
    sqs._HANDLERS["ReceiveMessage"] = receive


# ---- Buckets -------------------------------------------------------------------------------------


def know_bucket_owners(iam_evaluator, s3):
    """Looks up a bucket's owner. MiniStack assumes that it is the caller, because a bucket's ARN names no account."""

    @instead_of(iam_evaluator, "_resolve_condition_key")
    def resolve(original, key, context):
        if key.lower() in ("aws:resourceaccount", "s3:resourceaccount"):
            service, _, resource = context.resource_arn.partition(":::")
            if service.endswith(":s3"):
                return s3._bucket_owner_account(resource.partition("/")[0]) or original(key, context)
        return original(key, context)


def limit_metadata(s3, limits):
    """Limits user metadata. "The size of user-defined metadata is measured by taking the sum of the number of bytes in
    the UTF-8 encoding of each key and value" (S3 user guide, "Working with object metadata")."""
    prefix = "x-amz-meta-"

    @instead_of(s3, "handle_request")
    async def handle(original, method, path, headers, *arguments, **named):
        metadata = {name[len(prefix):]: value for name, value in headers.items() if name.startswith(prefix)}
        is_used = "x-amz-copy-source" not in headers or headers.get("x-amz-metadata-directive") == "REPLACE"
        if metadata and is_used and method in ("PUT", "POST"):
            size = sum(len(text.encode()) for pair in metadata.items() for text in pair)
            allowed = limits.get("metadata_bytes", s3._parse_bucket_key(path, headers)[0])
            if size > allowed:
                return s3._error("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size",
                                 400, path, {"Size": str(size), "MaxSizeAllowed": str(allowed)})
        return await original(method, path, headers, *arguments, **named)


def limit_parts(s3, limits):
    @instead_of(s3, "_complete_multipart_upload")
    def complete(original, bucket, key, body, query_params, *arguments, **named):
        upload = s3._multipart_uploads.get(s3._qp(query_params, "uploadId"))
        least = limits.get("part_bytes", bucket)
        small = too_small(body, upload["parts"] if upload else {}, least)
        if small:
            number, size = small
            return s3._error("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size", 400,
                             f"/{bucket}/{key}", {"PartNumber": str(number), "ProposedSize": str(size),
                                                  "MinSizeAllowed": str(least)})
        return original(bucket, key, body, query_params, *arguments, **named)


def too_small(document: bytes, parts: dict[int, dict], least: int) -> tuple[int, int] | None:
    """Returns number and size of a part that is too small, if the document names only parts that exist."""
    try:
        named = [int(element.text) for element in ElementTree.fromstring(document).iter()
                 if element.tag.rpartition("}")[2] == "PartNumber"]
    except (ElementTree.ParseError, TypeError, ValueError):
        return None
    if not all(number in parts for number in named):
        return None
    return next(((number, parts[number]["size"]) for number in sorted(named)[:-1] if parts[number]["size"] < least),
                None)


def delay_notifications(s3, limits):
    """Delays each notification in its own thread, so that their order changes."""

    @instead_of(s3, "_fire_s3_event")
    def fire(original, bucket, *arguments, **named):
        delay_ms = limits.get("notification_delay_ms", bucket)
        if delay_ms:
            time.sleep(random.uniform(0, delay_ms) / 1_000)
        return original(bucket, *arguments, **named)
