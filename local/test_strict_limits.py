"""Tests that the local cloud enforces the limits of AWS that strict_limits.py adds."""

import atexit
import json
import subprocess
import time
import unittest
import urllib.parse
from xml.etree import ElementTree

import emulator
import environment
import function_fixture
import lineage
import machine
from limits import PATH
from paths import SCRIPTS, Cloud

NOBODY = "000000000000"
OTHER = "111111111111"  # an account that only one test uses

# For each message that it receives, sends one to the same queue, with the trace header as an SDK sends it.
SENDS_TO_ITSELF = """
for record in event["Records"]:
    number = int(record["body"]) + 1
    if number < {ends_at}:
        message = json.dumps({{"QueueUrl": "{url}", "MessageBody": str(number)}}).encode()
        headers = {{"X-Amz-Target": "AmazonSQS.SendMessage", "X-Amzn-Trace-Id": trace}}
        urllib.request.urlopen(urllib.request.Request(os.environ["AWS_ENDPOINT_URL"], message, headers))
"""
FORWARDS_RECEIVES = """
for record in event["Records"]:
    receives = record["attributes"]["ApproximateReceiveCount"]
    message = json.dumps({{"QueueUrl": "{url}", "MessageBody": receives}}).encode()
    scope = "Credential={account}/20260101/us-east-1/sqs"
    headers = {{"X-Amz-Target": "AmazonSQS.SendMessage", "Authorization": scope}}
    urllib.request.urlopen(urllib.request.Request(os.environ["AWS_ENDPOINT_URL"], message, headers))
"""
# Prints the decisions of a policy that requires the resource to be in the caller's account.
OWNERS = """
import limits, strict_limits
from ministack.core import iam_evaluator
from ministack.services import s3
strict_limits.know_bucket_owners(iam_evaluator, s3)
for owner in ("111111111111", "222222222222"):
    s3._buckets._data[owner, "of-" + owner] = {}
for key in ("aws:ResourceAccount", "s3:ResourceAccount"):
    condition = {"StringEquals": {key: "111111111111"}}
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}
    policy = iam_evaluator.parse_policy_document({"Version": "2012-10-17", "Statement": [statement]})
    for arn in ("arn:aws:s3:::of-111111111111/a", "arn:aws:s3:::of-222222222222/a", "arn:aws:s3:::of-222222222222",
                "arn:aws:s3:::of-nobody/a", "arn:aws:sqs:us-east-1:222222222222:queue"):
        context = iam_evaluator.EvalContext("arn:aws:iam::111111111111:role/mine", "AssumedRole", "111111111111",
                                            "s3:GetObject", arn, "us-east-1")
        print(iam_evaluator.evaluate(context, [policy]).decision)
"""


class TheLocalCloud(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cloud = Cloud.named("limits-test")
        emulator.stop(cls.cloud, quiet=True)
        # Unittest runs no cleanup after Ctrl-C.
        atexit.register(emulator.stop, cls.cloud, quiet=True)
        cls.addClassCleanup(emulator.stop, cls.cloud, quiet=True)
        emulator.start(cls.cloud, port=None, iam=False, limits={"metadata_bytes": 100})  # the test sends unsigned requests
        cls.endpoint = environment.endpoint(cls.cloud.read_state()["port"])

    # ---- Recursive loops

    def test_a_chain_is_stopped_after_16_invocations_and_its_message_becomes_a_dead_letter(self):
        dead = self.queue("chain-dead")
        url = self.queue("chain", VisibilityTimeout="10", RedrivePolicy=json.dumps(
            {"deadLetterTargetArn": self.arn("chain-dead"), "maxReceiveCount": "2"}))
        self.consumer("chain", SENDS_TO_ITSELF.format(url=url, ends_at=100))
        self.sqs("SendMessage", QueueUrl=url, MessageBody="0")
        (message,) = self.await_messages(dead)
        self.assertEqual(message["Body"], "16")
        self.assertEqual(message["Attributes"]["ApproximateReceiveCount"], "3")  # twice from its own queue, and now
        self.assertRegex(message["Attributes"]["AWSTraceHeader"], r";Lineage=1:[0-9a-f]{8}:15$")
        self.assertEqual(self.metric("RecursiveInvocationsDropped", "chain"), 2.0)

    def test_a_function_that_allows_loops_is_not_stopped(self):
        done = self.queue("allowed-dead")
        url = self.queue("allowed", VisibilityTimeout="10", RedrivePolicy=json.dumps(
            {"deadLetterTargetArn": self.arn("allowed-dead"), "maxReceiveCount": "1"}))
        # The 40th invocation fails, so that its message can be seen.
        body = SENDS_TO_ITSELF.format(url=url, ends_at=40)
        body += '\nassert all(record["body"] != "39" for record in event["Records"])'
        self.consumer("allowed", body, RecursiveLoop="Allow")
        self.sqs("SendMessage", QueueUrl=url, MessageBody="0")
        (message,) = self.await_messages(done)
        self.assertEqual(message["Body"], "39")
        self.assertIsNone(self.metric("RecursiveInvocationsDropped", "allowed"))

    def test_an_invocation_of_a_chain_that_is_too_long_is_refused(self):
        function_fixture.make_function(self.endpoint, "invoked", "answer = trace")
        arn = f"arn:aws:lambda:us-east-1:{NOBODY}:function:invoked"
        header = None
        for _ in range(lineage.INVOCATIONS_MAX):
            status, body = self.invoke("invoked", header)
            self.assertEqual(status, 200, body)
            header = json.loads(body)
        self.assertEqual(lineage.invocations(header, arn), lineage.INVOCATIONS_MAX)
        status, body = self.invoke("invoked", header)
        self.assertEqual(status, 400)
        self.assertIn(b"RecursiveInvocationException", body)
        self.assertEqual(self.invoke("invoked", None)[0], 200)  # another chain

    def test_an_asynchronous_invocation_that_is_stopped_becomes_a_dead_letter_of_the_function(self):
        dead = self.queue("stopped-dead")
        function_fixture.make_function(self.endpoint, "stopped", "answer = trace",
                                       DeadLetterConfig={"TargetArn": self.arn("stopped-dead")})
        arn = f"arn:aws:lambda:us-east-1:{NOBODY}:function:stopped"
        header = f"Root=1-0-0;Lineage=1:{lineage.name(arn)}:{lineage.INVOCATIONS_MAX - 1}"
        self.assertEqual(self.invoke("stopped", header, kind="Event")[0], 202)
        (letter,) = self.await_messages(dead)
        response = json.loads(letter["Body"])["responsePayload"]
        self.assertEqual(response["errorType"], "RecursiveInvocationException")

    def test_notifications_of_s3_and_sns_continue_the_chain_of_the_request_that_caused_them(self):
        header = "Root=1-0-0;Lineage=1:0123abcd:3"
        url = self.queue("of-s3")
        self.s3("PUT", "/chained")
        self.notify("chained", "of-s3")
        self.await_messages(url)  # the test event
        self.s3("PUT", "/chained/with", headers={"X-Amzn-Trace-Id": header})
        (message,) = self.await_messages(url)
        self.assertEqual(message["Attributes"]["AWSTraceHeader"], header)
        self.s3("PUT", "/chained/without")
        (message,) = self.await_messages(url)
        self.assertNotIn("AWSTraceHeader", message["Attributes"])
        topic = f"arn:aws:sns:us-east-1:{NOBODY}:chained"
        url = self.queue("of-sns")
        self.query("sns", "CreateTopic", Name="chained")
        self.query("sns", "Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=self.arn("of-sns"))
        self.query("sns", "Publish", {"X-Amzn-Trace-Id": header}, TopicArn=topic, Message="any")
        (message,) = self.await_messages(url)
        self.assertEqual(message["Attributes"]["AWSTraceHeader"], header)

    def test_the_template_property_is_read(self):
        function = {"Type": "AWS::Serverless::Function", "Properties": {
            "FunctionName": "of-a-template", "Runtime": "python3.12", "Handler": "index.handler",
            "InlineCode": "def handler(event, context): pass", "RecursiveLoop": "Allow"}}
        template = {"Transform": "AWS::Serverless-2016-10-31", "Resources": {"Function": function}}
        self.query("cloudformation", "CreateStack", StackName="loops", TemplateBody=json.dumps(template))
        self.eventually(lambda: self.recursion("of-a-template") == {"RecursiveLoop": "Allow"})
        del function["Properties"]["RecursiveLoop"]
        self.query("cloudformation", "UpdateStack", StackName="loops", TemplateBody=json.dumps(template))
        self.eventually(lambda: self.recursion("of-a-template") == {"RecursiveLoop": "Terminate"})

    # ---- Concurrency

    def test_a_throttled_delivery_counts_as_a_receive(self):
        self.limit("account_concurrency", 1, of=OTHER)
        seen = self.queue("receives", account=OTHER)
        url = self.queue("throttled", account=OTHER, VisibilityTimeout="3")
        self.consumer("throttled", FORWARDS_RECEIVES.format(url=seen, account=OTHER), OTHER)
        function_fixture.make_function(self.endpoint, "busy", "time.sleep(10)", OTHER, Timeout=30)
        self.assertEqual(self.invoke("busy", None, OTHER, kind="Event")[0], 202)
        self.eventually(lambda: self.invoke("throttled", None, OTHER)[0] == 429)  # while the other function runs
        self.sqs("SendMessage", account=OTHER, QueueUrl=url, MessageBody="any")
        receives = self.await_messages(seen, OTHER)[0]["Body"]
        self.assertGreaterEqual(int(receives), 2)

    def test_the_limit_of_an_account_is_shown(self):
        account = "222222222222"
        self.limit("account_concurrency", 10, of=account)
        for who, concurrency in ((account, 10), (None, 1_000)):
            _, body = function_fixture.call(self.endpoint, "GET", "/2016-08-19/account-settings", account=who)
            self.assertEqual(json.loads(body)["AccountLimit"]["ConcurrentExecutions"], concurrency)

    # ---- Queues

    def test_the_limit_of_messages_in_flight_is_enforced(self):
        url = self.queue("in-flight")
        self.limit("in_flight_messages", 2, of="in-flight")
        for number in range(3):
            self.sqs("SendMessage", QueueUrl=url, MessageBody=str(number))
        received = self.sqs("ReceiveMessage", QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
        self.assertEqual([message["Body"] for message in received], ["0", "1"])
        refused = self.sqs("ReceiveMessage", QueueUrl=url, refused=403)
        self.assertEqual(refused["__type"], "OverLimit")
        self.assertEqual(self.sqs("ReceiveMessage", QueueUrl=url, WaitTimeSeconds=1), {})
        self.sqs("DeleteMessage", QueueUrl=url, ReceiptHandle=received[0]["ReceiptHandle"])
        (received,) = self.sqs("ReceiveMessage", QueueUrl=url)["Messages"]
        self.assertEqual(received["Body"], "2")

    # ---- Buckets

    def test_a_bucket_belongs_to_its_owner_in_conditions(self):
        decided = subprocess.run([machine.program("emulator", "python"), "-c", OWNERS], cwd=SCRIPTS, check=True,
                                 env=environment.for_tool(1, self.cloud.home, self.cloud.temporary),
                                 capture_output=True, text=True).stdout.split()
        self.assertEqual(decided, ["Allow", "ImplicitDeny", "ImplicitDeny", "Allow", "ImplicitDeny"] * 2)

    def test_user_metadata_over_the_limit_are_refused(self):
        self.s3("PUT", "/metadata")
        for length, status in ((96, 200), (97, 400)):
            headers = {"x-amz-meta-name": "x" * length}
            copied = headers | {"x-amz-copy-source": "metadata/a"}
            self.s3("PUT", "/metadata/a", headers=headers, status=status)
            self.s3("POST", "/metadata/b?uploads", headers=headers, status=status)
            self.s3("PUT", "/metadata/c", headers=copied | {"x-amz-metadata-directive": "REPLACE"}, status=status)
            self.s3("PUT", "/metadata/c", headers=copied, status=200)  # a copy keeps its source's metadata
        self.assertIn(b"MetadataTooLarge", self.s3("PUT", "/metadata/a", headers=headers, status=400))

    def test_all_parts_but_the_last_have_a_minimum_size(self):
        self.s3("PUT", "/parts")
        self.limit("part_bytes", 3, of="parts")
        self.assertIn(b"EntityTooSmall", self.complete("parts", [b"xxx", b"xx", b"x"], status=400))
        self.complete("parts", [b"xxx", b"xxx", b"x"])
        self.s3("PUT", "/aws-parts")
        self.assertIn(b"5242880", self.complete("aws-parts", [b"x" * (5 << 20), b"x" * ((5 << 20) - 1), b"x"], 400))
        self.complete("aws-parts", [b"x" * (5 << 20), b"x"])

    def test_notifications_can_be_late_and_in_any_order(self):
        url = self.queue("notified")
        self.s3("PUT", "/notifies")
        self.notify("notifies", "notified")
        self.await_messages(url)  # the test event
        self.limit("notification_delay_ms", 400, of="notifies")
        keys = [f"{number:02}" for number in range(20)]
        for key in keys:
            self.s3("PUT", f"/notifies/{key}")
        found = []
        self.eventually(lambda: found.extend(self.await_messages(url)) or len(found) == len(keys))
        notified = [json.loads(message["Body"])["Records"][0]["s3"]["object"]["key"] for message in found]
        self.assertEqual(sorted(notified), keys)
        self.assertNotEqual(notified, keys)

    # ---- Helpers

    def limit(self, limit, value, of):
        document = {"limit": limit, "value": value, "of": of}
        status, body = function_fixture.call(self.endpoint, "PUT", PATH, document)
        self.assertEqual(status, 200, body)

    def sqs(self, operation, account=None, refused=None, **document):
        headers = {"X-Amz-Target": f"AmazonSQS.{operation}", "Content-Type": "application/x-amz-json-1.0"}
        status, body = function_fixture.call(self.endpoint, "POST", "/", document, headers=headers, account=account)
        self.assertEqual(status, refused or 200, body)
        return json.loads(body) if body else {}

    def queue(self, name, account=None, **attributes):
        return self.sqs("CreateQueue", account=account, QueueName=name, Attributes=attributes)["QueueUrl"]

    def arn(self, queue, account=None):
        return f"arn:aws:sqs:us-east-1:{account or NOBODY}:{queue}"

    def await_messages(self, url, account=None):
        found = []

        def receive():
            answer = self.sqs("ReceiveMessage", account=account, QueueUrl=url, MaxNumberOfMessages=10,
                              AttributeNames=["All"])
            found.extend(answer.get("Messages", []))
            for message in found:
                self.sqs("DeleteMessage", account=account, QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return found

        self.eventually(receive)
        return found

    def consumer(self, name, body, account=None, RecursiveLoop=None):
        """Creates a function that consumes the queue of the same name, and invokes it once, so that it is warm."""
        function_fixture.make_function(self.endpoint, name, body, account, Timeout=10)
        status, answer = self.invoke(name, None, account)
        self.assertEqual(status, 200, answer)
        if RecursiveLoop:
            path = f"/2024-08-31/functions/{name}/recursion-config"
            status, answer = function_fixture.call(self.endpoint, "PUT", path, {"RecursiveLoop": RecursiveLoop})
            self.assertEqual(status, 200, answer)
        document = {"EventSourceArn": self.arn(name, account), "FunctionName": name}
        status, answer = function_fixture.call(self.endpoint, "POST", "/2015-03-31/event-source-mappings", document,
                                               account=account)
        self.assertEqual(status, 202, answer)

    def invoke(self, name, header, account=None, kind="RequestResponse"):
        headers = {"X-Amz-Invocation-Type": kind} | ({"X-Amzn-Trace-Id": header} if header else {})
        return function_fixture.call(self.endpoint, "POST", f"/2015-03-31/functions/{name}/invocations",
                                     {"Records": []}, headers=headers, account=account)

    def recursion(self, name):
        _, body = function_fixture.call(self.endpoint, "GET", f"/2024-08-31/functions/{name}/recursion-config")
        return json.loads(body)

    def metric(self, name, function):
        """Returns the sum of a metric of a function, or None if there is none."""
        body = self.query("monitoring", "GetMetricStatistics", **{
            "Namespace": "AWS/Lambda", "MetricName": name, "Period": "86400", "Statistics.member.1": "Sum",
            "Dimensions.member.1.Name": "FunctionName", "Dimensions.member.1.Value": function,
            "StartTime": "2020-01-01T00:00:00Z", "EndTime": "2100-01-01T00:00:00Z"})
        sums = [float(element.text) for element in ElementTree.fromstring(body).iter()
                if element.tag.rpartition("}")[2] == "Sum"]
        return sum(sums) if sums else None

    def notify(self, bucket, queue):
        self.s3("PUT", f"/{bucket}?notification", body=(
            f"<NotificationConfiguration><QueueConfiguration><Queue>{self.arn(queue)}</Queue>"
            "<Event>s3:ObjectCreated:*</Event></QueueConfiguration></NotificationConfiguration>").encode())

    def query(self, service, action, more_headers=None, **parameters):
        body = urllib.parse.urlencode({"Action": action} | parameters).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization":
                   f"AWS4-HMAC-SHA256 Credential={NOBODY}/20260101/us-east-1/{service}/aws4_request"} | (more_headers or {})
        status, answer = function_fixture.call(self.endpoint, "POST", "/", body=body, headers=headers)
        self.assertEqual(status, 200, answer)
        return answer

    def s3(self, method, path, body=b"", headers=None, status=200):
        found, answer = function_fixture.call(self.endpoint, method, path, body=body, headers=headers)
        self.assertEqual(found, status, answer)
        return answer

    def complete(self, bucket, parts, status=200):
        """Uploads an object in these parts, and completes it."""
        begun = ElementTree.fromstring(self.s3("POST", f"/{bucket}/key?uploads"))
        upload = next(element.text for element in begun.iter() if element.tag.endswith("UploadId"))
        for number, part in enumerate(parts, 1):
            self.s3("PUT", f"/{bucket}/key?partNumber={number}&uploadId={upload}", part)
        named = "".join(f"<Part><PartNumber>{number + 1}</PartNumber></Part>" for number in range(len(parts)))
        document = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
        return self.s3("POST", f"/{bucket}/key?uploadId={upload}", document, status=status)

    def eventually(self, holds, seconds=60):
        deadline = time.monotonic() + seconds
        while not holds():
            self.assertLess(time.monotonic(), deadline, f"it did not happen within {seconds} s")
            time.sleep(0.1)


if __name__ == "__main__":
    unittest.main()
