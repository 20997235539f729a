//! Compares the permissions that the template gives each function with the requests that its code sends to AWS. They
//! have to be the same.
//!
//! The requests are read from the built binaries: an operation of the SDK is linked into a function exactly if its code
//! can reach it. `NEEDS` lists the permissions of each operation. The local AWS enforces the roles' policies, so the
//! flows show that the permissions are enough; this test shows that they are not too many.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use object::{Object, ObjectSymbol};
use tandem_tests::template::{of_type, queue, read, role, statements, texts};
use yaml_rust2::Yaml;

/// The functions, with their logical ids in the template.
const FUNCTIONS: [(&str, &str); 6] = [
    ("ConfigureRule", "configure-rule"),
    ("ReplicatePut", "replicate-put"),
    ("ReplicateDelete", "replicate-delete"),
    ("Backfill", "backfill"),
    ("BackfillShard", "backfill-shard"),
    ("CopyParts", "copy-parts"),
];

/// What an operation needs: `action` on a kind of resource, with the names of [`kind`]. A row for one function,
/// `function: operation`, replaces the operation's own row.
///
/// Sources: S3 user guide, "Required permissions for Amazon S3 API operations"; service authorization reference.
const NEEDS: &[(&str, &[&str])] = &[
    (
        "s3.AbortMultipartUpload",
        &["s3:AbortMultipartUpload replicas"],
    ),
    ("s3.CompleteMultipartUpload", &["s3:PutObject replicas"]),
    (
        "s3.CopyObject",
        &[
            "s3:GetObject sources",
            "s3:GetObjectTagging sources",
            "s3:PutObject replicas",
            "s3:PutObjectTagging replicas",
            "s3:PutObjectAcl replicas",
            "s3:PutObjectRetention replicas",
            "s3:PutObjectLegalHold replicas",
            "kms:Decrypt keys",
            "kms:GenerateDataKey keys",
        ],
    ),
    (
        "s3.CreateMultipartUpload",
        &[
            "s3:PutObject replicas",
            "s3:PutObjectTagging replicas",
            "s3:PutObjectRetention replicas",
            "s3:PutObjectLegalHold replicas",
            "kms:GenerateDataKey keys",
        ],
    ),
    ("s3.DeleteObject", &["s3:DeleteObject replicas"]),
    // For the version that the function has read, if there are versions.
    (
        "s3.DeleteObjectTagging",
        &[
            "s3:DeleteObjectTagging replicas",
            "s3:DeleteObjectVersionTagging replicas",
        ],
    ),
    (
        "s3.GetBucketEncryption",
        &["s3:GetEncryptionConfiguration destination"],
    ),
    (
        "s3.GetBucketNotificationConfiguration",
        &[
            "s3:GetBucketNotification source",
            "s3:GetBucketNotification destination",
        ],
    ),
    (
        "s3.GetBucketOwnershipControls",
        &["s3:GetBucketOwnershipControls destination"],
    ),
    (
        "s3.GetObjectAcl",
        &["s3:GetObjectAcl sources", "s3:GetObjectAcl replicas"],
    ),
    (
        "s3.GetObjectAttributes",
        &["s3:GetObject sources", "s3:GetObjectAttributes sources"],
    ),
    (
        "s3.GetObjectLockConfiguration",
        &["s3:GetBucketObjectLockConfiguration destination"],
    ),
    (
        "s3.GetObjectTagging",
        &[
            "s3:GetObjectTagging sources",
            "s3:GetObjectTagging replicas",
        ],
    ),
    (
        "s3.HeadBucket",
        &["s3:ListBucket source", "s3:ListBucket destination"],
    ),
    // Finds the region of a bucket of manifests or reports.
    ("backfill: s3.HeadBucket", &["s3:ListBucket job bucket"]),
    // Without s3:ListBucket, S3 answers 403 if there is no object. It shows locks only to roles that may read them.
    (
        "s3.HeadObject",
        &[
            "s3:GetObject sources",
            "s3:GetObjectLegalHold sources",
            "s3:GetObjectRetention sources",
            "s3:ListBucket source",
            "s3:GetObject replicas",
            "s3:GetObjectLegalHold replicas",
            "s3:GetObjectRetention replicas",
            "s3:ListBucket destination",
            "kms:Decrypt keys",
        ],
    ),
    // For manifests.
    (
        "backfill: s3.HeadObject",
        &[
            "s3:GetObject job objects",
            "s3:ListBucket job bucket",
            "kms:Decrypt keys",
        ],
    ),
    (
        "s3.GetObject",
        &[
            "s3:GetObject job objects",
            "s3:ListBucket job bucket",
            "kms:Decrypt keys",
        ],
    ),
    (
        "s3.PutObject",
        &["s3:PutObject job objects", "kms:GenerateDataKey keys"],
    ),
    ("s3.GetBucketWebsite", &["s3:GetBucketWebsite source"]),
    ("s3.ListBuckets", &["s3:ListAllMyBuckets *"]),
    (
        "s3.ListMultipartUploads",
        &["s3:ListBucketMultipartUploads destination"],
    ),
    // The live functions abort only their own uploads, whose ids they know.
    ("replicate-put: s3.ListMultipartUploads", &[]),
    ("replicate-delete: s3.ListMultipartUploads", &[]),
    ("backfill-shard: s3.ListMultipartUploads", &[]),
    (
        "s3.ListObjectsV2",
        &["s3:ListBucket source", "s3:ListBucket destination"],
    ),
    ("s3.ListParts", &["s3:ListMultipartUploadParts replicas"]),
    (
        "s3.PutBucketNotificationConfiguration",
        &["s3:PutBucketNotification source"],
    ),
    (
        "s3.PutObjectAcl",
        &[
            "s3:PutObjectAcl replicas",
            "s3:PutObjectVersionAcl replicas",
        ],
    ),
    ("s3.PutObjectLegalHold", &["s3:PutObjectLegalHold replicas"]),
    ("s3.PutObjectRetention", &["s3:PutObjectRetention replicas"]),
    (
        "s3.PutObjectTagging",
        &[
            "s3:PutObjectTagging replicas",
            "s3:PutObjectVersionTagging replicas",
        ],
    ),
    (
        "s3.UploadPartCopy",
        &[
            "s3:GetObject sources",
            "s3:PutObject replicas",
            "kms:Decrypt keys",
        ],
    ),
    ("dynamodb.DeleteItem", &["dynamodb:DeleteItem table"]),
    ("dynamodb.GetItem", &["dynamodb:GetItem table"]),
    ("dynamodb.PutItem", &["dynamodb:PutItem table"]),
    ("dynamodb.Query", &["dynamodb:Query table"]),
    (
        "dynamodb.TransactWriteItems",
        &["dynamodb:PutItem table", "dynamodb:DeleteItem table"],
    ),
    ("dynamodb.UpdateItem", &["dynamodb:UpdateItem table"]),
    (
        "sqs.ChangeMessageVisibility",
        &["sqs:ChangeMessageVisibility queues"],
    ),
    ("sqs.DeleteMessage", &["sqs:DeleteMessage queues"]),
    ("sqs.GetQueueAttributes", &["sqs:GetQueueAttributes queues"]),
    ("sqs.ReceiveMessage", &["sqs:ReceiveMessage queues"]),
    ("sqs.SendMessage", &["sqs:SendMessage queues"]),
    ("eventbridge.PutEvents", &["events:PutEvents bus"]),
    ("eventbridge.DeleteRule", &["events:DeleteRule event rules"]),
    (
        "eventbridge.DescribeRule",
        &["events:DescribeRule event rules"],
    ),
    (
        "eventbridge.ListTargetsByRule",
        &["events:ListTargetsByRule event rules"],
    ),
    // For the rules of other stacks in the destination's region.
    (
        "eventbridge.ListRules",
        &["events:ListRules all event rules"],
    ),
    ("eventbridge.PutRule", &["events:PutRule event rules"]),
    ("eventbridge.PutTargets", &["events:PutTargets event rules"]),
    (
        "eventbridge.RemoveTargets",
        &["events:RemoveTargets event rules"],
    ),
    ("lambda.Invoke", &["lambda:InvokeFunction function"]),
    (
        "cloudformation.DescribeStacks",
        &["cloudformation:DescribeStacks stack"],
    ),
    ("cloudwatch.GetMetricData", &["cloudwatch:GetMetricData *"]),
];

/// What Lambda itself does with the function's role: it writes the log, and takes messages from the function's queue.
///
/// Sources: Lambda developer guide, "Execution role" and "Using Lambda with Amazon SQS".
const OF_LAMBDA: [&str; 2] = ["logs:CreateLogStream log", "logs:PutLogEvents log"];
const OF_LAMBDA_WITH_QUEUE: [&str; 3] = [
    "sqs:DeleteMessage queues",
    "sqs:GetQueueAttributes queues",
    "sqs:ReceiveMessage queues",
];

/// What the table and the queues need if the parameter `StackKey` names their key. Every function uses both.
///
/// Sources: DynamoDB developer guide, "Using DynamoDB encryption at rest"; SQS developer guide, "Key management".
const OF_STACK_KEY: [&str; 6] = [
    "kms:Decrypt stack key",
    "kms:DescribeKey stack key",
    "kms:Encrypt stack key",
    "kms:GenerateDataKey stack key",
    "kms:ReEncryptFrom stack key",
    "kms:ReEncryptTo stack key",
];

/// Operations that are linked but never sent: the SDK's ways to find credentials on machines other than Lambda's, and
/// sessions of directory buckets, which have no notifications.
fn is_never_sent(operation: &str) -> bool {
    let services = ["sso.", "ssooidc.", "sts.", "signin."];
    services
        .iter()
        .any(|service| operation.starts_with(service))
        || operation == "s3.CreateSession"
}

/// The operations of the SDK that are linked into a function, such as `s3.CopyObject`.
fn linked(function: &str) -> BTreeSet<String> {
    let path = std::env::current_exe()
        .expect("the test's own path")
        .parent()
        .and_then(Path::parent)
        .expect("the folder of the profile")
        .join(function);
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `make functions`", path.display()));
    let file = object::File::parse(bytes.as_slice()).expect("a binary");
    let operations = file.symbols().filter_map(|symbol| {
        let name = format!("{:#}", rustc_demangle::demangle(symbol.name().ok()?));
        // aws_sdk_s3::operation::copy_object::CopyObject::orchestrate
        let (service, rest) = name.strip_prefix("aws_sdk_")?.split_once("::operation::")?;
        let operation = rest.strip_suffix("::orchestrate")?.rsplit("::").next()?;
        Some(format!("{service}.{operation}"))
    });
    operations
        .filter(|operation| !is_never_sent(operation))
        .collect()
}

/// What a function needs, each permission with the operations that need it.
fn needed(template: &Yaml, logical_id: &str, function: &str) -> BTreeMap<String, Vec<String>> {
    let mut needed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let of_queue = queue(template, logical_id).map(|_| OF_LAMBDA_WITH_QUEUE);
    for permission in OF_LAMBDA.into_iter().chain(of_queue.into_iter().flatten()) {
        needed.insert(permission.to_owned(), vec!["Lambda".to_owned()]);
    }
    for permission in OF_STACK_KEY {
        needed.insert(permission.to_owned(), vec!["table and queues".to_owned()]);
    }
    let operations = linked(function);
    assert!(!operations.is_empty(), "{function} asks AWS for nothing");
    for operation in operations {
        let own = format!("{function}: {operation}");
        let row = |name: &str| NEEDS.iter().find(|(row, _)| *row == name);
        let (_, permissions) = row(&own).or_else(|| row(&operation)).unwrap_or_else(|| {
            panic!("NEEDS has no row for {operation}, which {function} can send")
        });
        for permission in *permissions {
            let by = needed.entry((*permission).to_owned()).or_default();
            by.push(operation.clone());
        }
    }
    needed
}

/// The kind of a resource.
fn kind(resource: &str) -> &'static str {
    let after_partition = resource.strip_prefix("arn:${AWS::Partition}:");
    match after_partition.unwrap_or(resource) {
        "*" => "*",
        "RuleTable.Arn" => "table",
        "s3:::${SourceBucketPattern}" => "source",
        "s3:::${SourceBucketPattern}/*" => "sources",
        "s3:::${DestinationBucketPattern}" => "destination",
        "s3:::${DestinationBucketPattern}/*" => "replicas",
        "s3:::${JobBucketPattern}" => "job bucket",
        "s3:::${JobBucketPattern}/*" => "job objects",
        "events:${AWS::Region}:${AWS::AccountId}:event-bus/default" => "bus",
        "events:${AWS::Region}:${AWS::AccountId}:rule/${AWS::StackName}-rule-*" => "event rules",
        "events:*:${AWS::AccountId}:rule/*" => "all event rules",
        "lambda:${AWS::Region}:${AWS::AccountId}:function:${AWS::StackName}-backfill" => "function",
        "cloudformation:${AWS::Region}:${AWS::AccountId}:stack/${AWS::StackName}/*" => "stack",
        "kms:*:*:key/*" => "keys",
        "StackKey" => "stack key",
        queue if queue.ends_with("Queue.Arn") => "queues",
        log if log.ends_with("Logs.Arn") => "log",
        other => panic!("a resource of a kind that this test does not know: {other}"),
    }
}

/// The statements that allow something to a function.
fn allowed<'a>(template: &'a Yaml, logical_id: &str) -> impl Iterator<Item = &'a Yaml> {
    let statements = statements(template, logical_id).into_iter();
    statements.filter(|statement| match statement["Effect"].as_str() {
        Some("Allow") => true,
        Some("Deny") => false,
        other => panic!("a statement's effect is {other:?}"),
    })
}

/// The resources of a statement.
fn on(statement: &Yaml) -> Vec<&str> {
    // The resource is one of two patterns of keys. The condition on the service identifies both.
    if statement["Sid"].as_str() != Some("KeysOfObjects") {
        return texts(&statement["Resource"]);
    }
    let via = &statement["Condition"]["StringLike"]["kms:ViaService"];
    assert_eq!(texts(via), ["s3.*.amazonaws.com", "s3.*.${AWS::URLSuffix}"]);
    vec!["kms:*:*:key/*"]
}

/// What a function is allowed, as `action kind-of-resource`.
fn granted(template: &Yaml, logical_id: &str) -> BTreeSet<String> {
    let mut granted = BTreeSet::new();
    for statement in allowed(template, logical_id) {
        let on = on(statement);
        if statement["Sid"].as_str() == Some("OwnQueue") {
            let own = queue(template, logical_id).expect("a queue");
            assert_eq!(on, [own], "{logical_id} takes from another's queue");
        }
        for log in on.iter().filter(|on| kind(on) == "log") {
            assert_eq!(*log, format!("{logical_id}Logs.Arn"), "another's log");
        }
        for action in texts(&statement["Action"]) {
            assert!(!action.contains('*'), "{logical_id} may do {action}");
            granted.extend(on.iter().map(|on| format!("{action} {}", kind(on))));
        }
    }
    granted
}

// Promise: Each function may do what its code asks for, and nothing else, in a role of its own.
#[test]
fn every_function_has_exactly_the_permissions_that_its_code_needs() {
    let template = read();
    let mut wrong = Vec::new();
    for (logical_id, function) in FUNCTIONS {
        let (granted, needed) = (
            granted(&template, logical_id),
            needed(&template, logical_id, function),
        );
        for permission in granted.iter().filter(|has| !needed.contains_key(*has)) {
            wrong.push(format!(
                "{logical_id} may {permission}, which {function} has no use for"
            ));
        }
        for (permission, operations) in needed.iter().filter(|(needs, _)| !granted.contains(*needs))
        {
            let operations = operations.join(", ");
            wrong.push(format!(
                "{logical_id} may not {permission}, which {function} needs for {operations}"
            ));
        }
    }
    assert!(wrong.is_empty(), "template.yaml:\n{}", wrong.join("\n"));
}

// Promise: Each function may do what its code asks for, and nothing else, in a role of its own.
#[test]
fn every_function_has_its_own_role_and_is_checked() {
    let template = read();
    let mut found: Vec<&str> = of_type(&template, "AWS::Serverless::Function")
        .map(|(id, function)| {
            // SAM adds AWS's policies to roles that it makes; they allow every queue and log of the account.
            let own = format!("{id}Role.Arn");
            assert_eq!(function["Properties"]["Role"].as_str(), Some(own.as_str()));
            assert!(function["Properties"]["Policies"].is_badvalue(), "{id}");
            let trusted = role(&template, id)["AssumeRolePolicyDocument"]["Statement"].as_vec();
            let trusted = trusted.expect("a statement");
            assert_eq!(trusted.len(), 1, "{id}");
            let service = trusted[0]["Principal"]["Service"].as_str();
            assert_eq!(service, Some("lambda.amazonaws.com"), "{id}");
            id
        })
        .collect();
    let mut listed = FUNCTIONS.map(|(id, _)| id);
    found.sort_unstable();
    listed.sort_unstable();
    assert_eq!(found, listed);
}

#[test]
fn every_row_of_the_table_is_used() {
    let linked: BTreeMap<&str, BTreeSet<String>> = FUNCTIONS
        .iter()
        .map(|(_, function)| (*function, linked(function)))
        .collect();
    for (row, _) in NEEDS {
        let used = match row.split_once(": ") {
            Some((function, operation)) => linked[function].contains(operation),
            None => linked.values().any(|operations| operations.contains(*row)),
        };
        assert!(used, "nothing sends {row} any more");
    }
}

/// The accounts whose resources a statement concerns.
fn accounts(statement: &Yaml) -> &'static str {
    let of = &statement["Condition"]["StringEquals"]["aws:ResourceAccount"];
    if of.is_badvalue() {
        return "any";
    }
    match texts(of)[..] {
        ["AWS::AccountId"] => "own",
        [
            "OwnAccountOnly",
            "AWS::AccountId",
            ",",
            ",",
            "AWS::AccountId",
            ",",
            "DestinationAccounts",
        ] => "own or listed",
        ref other => panic!("accounts that this test does not know: {other:?}"),
    }
}

// Promise: The functions use buckets and keys of the stack's own account only, and destinations and keys of objects of the
// accounts that the parameter `DestinationAccounts` lists.
#[test]
fn no_function_may_use_buckets_or_keys_of_accounts_that_the_stack_does_not_name() {
    let template = read();
    let mut checked = BTreeSet::new();
    for (logical_id, function) in FUNCTIONS {
        for statement in allowed(&template, logical_id) {
            for kind in on(statement).into_iter().map(kind) {
                let expected = match (kind, function) {
                    ("source" | "sources" | "job bucket" | "job objects", _)
                    | ("keys", "backfill") => "own",
                    ("destination" | "replicas" | "keys", _) => "own or listed",
                    // The stack's own resources, and actions that concern no resource.
                    _ => "any",
                };
                assert_eq!(accounts(statement), expected, "{function}: {kind}");
                checked.insert(kind);
            }
        }
    }
    for kind in ["source", "replicas", "job objects", "keys"] {
        assert!(checked.contains(kind), "nothing is allowed on {kind}");
    }
}

// Promise: Where `SourceBucketPattern` is a name or `name*`, and not the same as `DestinationBucketPattern`, no function may
// write or delete an object of a bucket that it matches.
#[test]
fn writes_allowed_at_a_destination_are_denied_at_a_source() {
    let template = read();
    let mut functions_that_write = 0;
    for (logical_id, function) in FUNCTIONS {
        let writes: BTreeSet<&str> = allowed(&template, logical_id)
            .filter(|statement| {
                on(statement)
                    .into_iter()
                    .map(kind)
                    .any(|on| on == "replicas")
            })
            .flat_map(|statement| texts(&statement["Action"]))
            .filter(|action| !action.starts_with("s3:Get") && !action.starts_with("s3:List"))
            .collect();
        let denied: Vec<&str> = statements(&template, logical_id)
            .into_iter()
            .filter(|statement| statement["Effect"].as_str() == Some("Deny"))
            .inspect(|statement| {
                assert_eq!(
                    on(statement).into_iter().map(kind).collect::<Vec<_>>(),
                    ["sources"]
                );
            })
            .flat_map(|statement| texts(&statement["Action"]))
            .collect();
        for action in &writes {
            let is_denied = denied.iter().any(|denied| match denied.strip_suffix('*') {
                Some(beginning) => action.starts_with(beginning),
                None => action == denied,
            });
            assert!(is_denied, "{function} may {action} at a source");
        }
        functions_that_write += usize::from(!writes.is_empty());
    }
    assert_eq!(functions_that_write, 5);
}

// Promise: Queues take no unencrypted request.
#[test]
fn queues_refuse_unencrypted_requests() {
    let template = read();
    let mut guarded = BTreeSet::new();
    for (_, policy) in of_type(&template, "AWS::SQS::QueuePolicy") {
        let statements = policy["Properties"]["PolicyDocument"]["Statement"]
            .as_vec()
            .expect("statements");
        let denies = statements.iter().any(|statement| {
            statement["Effect"].as_str() == Some("Deny")
                && texts(&statement["Action"]) == ["sqs:*"]
                && statement["Principal"].as_str() == Some("*")
                && statement["Condition"]["Bool"]["aws:SecureTransport"].as_str() == Some("false")
        });
        if denies {
            guarded.extend(texts(&policy["Properties"]["Queues"]));
        }
    }
    let queues: BTreeSet<&str> = of_type(&template, "AWS::SQS::Queue")
        .map(|(id, queue)| {
            // With the stack's key, or with SQS's own.
            let own_key = queue["Properties"]["SqsManagedSseEnabled"].as_vec();
            let own_key = own_key.map(Vec::as_slice).expect("a choice");
            let choice = [
                Yaml::String("WithStackKey".to_owned()),
                Yaml::Boolean(false),
                Yaml::Boolean(true),
            ];
            assert_eq!(own_key, choice, "{id}");
            let key = texts(&queue["Properties"]["KmsMasterKeyId"]);
            assert_eq!(key, ["WithStackKey", "StackKey", "AWS::NoValue"], "{id}");
            id
        })
        .collect();
    assert_eq!(guarded, queues);
}
