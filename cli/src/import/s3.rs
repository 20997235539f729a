//! S3's replication configuration in both versions: rules with a `Prefix`, and rules with a `Filter`. No I/O.
//!
//! Source: S3 API reference, `ReplicationRule`, `ReplicationRuleFilter`, `Destination`; S3 user guide, "What does
//! Amazon S3 replicate?".

use tandem_replication::options::STORAGE_CLASSES;

use super::tree::Element;
use super::{Found, ImportError, Notes, note_white_space};
use crate::contract::{KeyChoice, OptionChanges, Policy};

const RULE: [&str; 9] = [
    "ID",
    "Priority",
    "Prefix",
    "Filter",
    "Status",
    "SourceSelectionCriteria",
    "ExistingObjectReplication",
    "Destination",
    "DeleteMarkerReplication",
];
const DESTINATION: [&str; 7] = [
    "Bucket",
    "Account",
    "StorageClass",
    "AccessControlTranslation",
    "EncryptionConfiguration",
    "ReplicationTime",
    "Metrics",
];

/// Returns the rules that can be carried over.
pub fn rules(root: &Element, notes: &mut Notes) -> Result<Vec<Found>, ImportError> {
    if let Some(role) = root.get("Role")? {
        notes.add(
            role,
            "is not needed: Tandem's functions have roles of their own",
        );
    }
    for other in root.others(&["Role", "Rule"]) {
        notes.add(other, "is not known, and not carried over");
    }
    let mut found = Vec::new();
    for element in root.all("Rule") {
        found.extend(rule(element, notes)?);
    }
    Ok(found)
}

fn rule(rule: &Element, notes: &mut Notes) -> Result<Option<Found>, ImportError> {
    for other in rule.others(&RULE) {
        notes.add(other, "is not known, and not carried over");
    }
    let enabled = rule.enabled_at(&["Status"])?;
    let enabled =
        enabled.ok_or_else(|| ImportError::new(format!("{}.Status", rule.path), "is missing"))?;
    let destination = bucket(rule)?;
    let priority = priority(rule)?;
    let filter = filter(rule)?;
    let policy = policy(rule, filter.is_second_version)?;
    if !enabled {
        notes.add(rule, "is disabled, and left out");
        return Ok(None);
    }
    if let Some(tags) = filter.tags {
        notes.add(
            tags,
            "chooses objects by their tags, and Tandem cannot: the rule is left out, because a rule without the tags, \
             or with a prefix instead, would replicate more objects",
        );
        return Ok(None);
    }
    criteria(rule, notes)?;
    let prefixes: Vec<String> = filter
        .prefix
        .into_iter()
        .filter(|prefix| !prefix.is_empty())
        .collect();
    note_white_space(rule, &prefixes, notes);
    Ok(Some(Found {
        path: rule.path.clone(),
        priority,
        destination,
        prefixes,
        policy,
        options: options(rule, notes)?,
        historical: rule.enabled_at(&["ExistingObjectReplication", "Status"])? == Some(true),
    }))
}

/// Returns the name in `arn:aws:s3:::name`.
fn bucket(rule: &Element) -> Result<String, ImportError> {
    const WAY: [&str; 2] = ["Destination", "Bucket"];
    let arn = rule.required(&WAY)?;
    let fields: Vec<&str> = arn.split(':').collect();
    match fields[..] {
        ["arn", _, "s3", "", "", name] if !name.is_empty() && !name.contains('/') => {
            Ok(name.to_owned())
        }
        _ => {
            let problem = format!("is {arn:?}, which is not the ARN of a bucket");
            Err(ImportError::new(
                format!("{}.{}", rule.path, WAY.join(".")),
                problem,
            ))
        }
    }
}

fn priority(rule: &Element) -> Result<i64, ImportError> {
    let Some(priority) = rule.word_at(&["Priority"])? else {
        return Ok(0);
    };
    priority.parse().map_err(|_| {
        let problem = format!("is {priority:?}, which is not a whole number");
        ImportError::new(format!("{}.Priority", rule.path), problem)
    })
}

/// The objects that a rule covers.
struct Filter<'a> {
    prefix: Option<String>,
    tags: Option<&'a Element>,
    is_second_version: bool,
}

fn filter(rule: &Element) -> Result<Filter<'_>, ImportError> {
    let Some(filter) = rule.get("Filter")? else {
        return Ok(Filter {
            prefix: rule.literal_at(&["Prefix"])?.map(str::to_owned),
            tags: None,
            is_second_version: false,
        });
    };
    if let Some(prefix) = rule.get("Prefix")? {
        let problem = "is used together with Filter; S3 accepts only one of them";
        return Err(ImportError::new(&prefix.path, problem));
    }
    if let Some(other) = filter.others(&["Prefix", "Tag", "And"]).next() {
        let problem =
            "is not a known filter, so its objects are not known; remove it, then import again";
        return Err(ImportError::new(&other.path, problem));
    }
    let both = filter.get("And")?.unwrap_or(filter);
    Ok(Filter {
        prefix: both.literal_at(&["Prefix"])?.map(str::to_owned),
        tags: both.all("Tag").next(),
        is_second_version: true,
    })
}

/// The first version replicates delete markers; the second does so only if the rule enables it.
fn policy(rule: &Element, is_second_version: bool) -> Result<Policy, ImportError> {
    let markers = rule.enabled_at(&["DeleteMarkerReplication", "Status"])?;
    Ok(if markers.unwrap_or(!is_second_version) {
        Policy::Full
    } else {
        Policy::Write
    })
}

fn criteria(rule: &Element, notes: &mut Notes) -> Result<(), ImportError> {
    let Some(criteria) = rule.get("SourceSelectionCriteria")? else {
        return Ok(());
    };
    if criteria.enabled_at(&["SseKmsEncryptedObjects", "Status"])? == Some(false) {
        notes.add(
            criteria,
            "leaves out objects encrypted with KMS keys; Tandem replicates every object that its roles may read",
        );
    }
    if criteria.enabled_at(&["ReplicaModifications", "Status"])? == Some(true) {
        notes.add(
            criteria,
            "replicates changes of replicas back; Tandem's rules have one direction",
        );
    }
    for other in criteria.others(&["SseKmsEncryptedObjects", "ReplicaModifications"]) {
        notes.add(other, "is not known, and not carried over");
    }
    Ok(())
}

fn options(rule: &Element, notes: &mut Notes) -> Result<OptionChanges, ImportError> {
    let Some(destination) = rule.get("Destination")? else {
        return Ok(OptionChanges::default());
    };
    for other in destination.others(&DESTINATION) {
        notes.add(other, "is not known, and not carried over");
    }
    for (name, note) in [
        (
            "ReplicationTime",
            "promises a time, and Tandem does not; `tandem status` shows the lag of every rule",
        ),
        ("Metrics", "is not needed: Tandem measures every rule"),
    ] {
        if destination.enabled_at(&[name, "Status"])? == Some(true)
            && let Some(element) = destination.get(name)?
        {
            notes.add(element, note);
        }
    }
    Ok(OptionChanges {
        storage_class: storage_class(destination, notes)?,
        kms_key: kms_key(destination, notes)?,
        destination_account: account(destination, notes)?,
        ..OptionChanges::default()
    })
}

fn storage_class(destination: &Element, notes: &mut Notes) -> Result<Option<String>, ImportError> {
    let Some(element) = destination.get("StorageClass")? else {
        return Ok(None);
    };
    let class = element.word()?;
    if STORAGE_CLASSES.contains(&class) {
        return Ok(Some(class.to_owned()));
    }
    let note = format!(
        "is {class:?}, a class in which Tandem cannot write replicas; replicas have their source's class"
    );
    notes.add(element, note);
    Ok(None)
}

fn kms_key(destination: &Element, notes: &mut Notes) -> Result<Option<KeyChoice>, ImportError> {
    let Some(element) = destination.at(&["EncryptionConfiguration", "ReplicaKmsKeyID"])? else {
        return Ok(None);
    };
    let key = element.word()?;
    if key.starts_with("arn:") {
        return Ok(Some(KeyChoice::Arn(key.to_owned())));
    }
    let note = format!(
        "is {key:?}, which is not the ARN of a key; give the whole ARN to `tandem rule update --kms-key`"
    );
    notes.add(element, note);
    Ok(None)
}

/// In S3, the destination's account owns the replicas only if the rule asks for it; in Tandem it always does.
fn account(destination: &Element, notes: &mut Notes) -> Result<Option<String>, ImportError> {
    let Some(account) = destination.get("Account")? else {
        return Ok(None);
    };
    let owner = destination.word_at(&["AccessControlTranslation", "Owner"])?;
    if owner != Some("Destination") {
        notes.add(
            account,
            "without AccessControlTranslation leaves replicas to the source's account; with Tandem the destination's \
             account owns them",
        );
    }
    Ok(Some(account.word()?.to_owned()))
}
