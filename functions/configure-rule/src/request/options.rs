//! Parses the options of a request, without I/O. Each is read separately, so that a refusal can name the invalid one.

use serde_json::Value;
use tandem_lambda::request::{flag, text};
use tandem_replication::names::{AccountId, KmsKeyArn, StorageClass};
use tandem_replication::options::{
    AclChoice, ClassChoice, EncryptionChoice, KEEP, LockChoice, NotificationChoice, Options,
    RPO_SECS_RANGE, Reconcile, STORAGE_CLASSES,
};
use tandem_replication::refusal::Refusal;

use super::invalid;

const FIELDS: &str = "storage_class, encryption, kms_key, tags, acl, object_lock, lifecycle_deletes, \
                      destination_account, reconcile, rpo_secs, notifications, enable_eventbridge";

/// The options that a request sets, one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionChanges(Vec<OptionChange>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum OptionChange {
    StorageClass(ClassChoice),
    Encryption(EncryptionChoice),
    KmsKey(Option<KmsKeyArn>),
    Tags(bool),
    Acl(AclChoice),
    ObjectLock(LockChoice),
    LifecycleDeletes(bool),
    DestinationAccount(Option<AccountId>),
    Reconcile(Reconcile),
    RpoSecs(u32),
    Notifications(NotificationChoice),
    EnableEventBridge(bool),
}

impl OptionChanges {
    /// Reads `{"storage_class": "GLACIER_IR", ...}`. A field that is null requests its default.
    pub(super) fn read(value: Value) -> Result<Self, Refusal> {
        let shown = value.to_string();
        let Value::Object(fields) = value else {
            let problem = format!("is not an object; give an object with any of {FIELDS}");
            return Err(invalid("options", shown, problem));
        };
        let changes = fields.into_iter().map(|(name, value)| {
            OptionChange::read(&name, value)?.ok_or_else(|| {
                let problem = format!("has an unknown field `{name}`; use any of {FIELDS}");
                invalid("options", shown.as_str(), problem)
            })
        });
        changes.collect::<Result<_, _>>().map(Self)
    }

    /// Returns the options with these changes. Other options stay.
    pub fn of(self, mut options: Options) -> Options {
        for change in self.0 {
            match change {
                OptionChange::StorageClass(class) => options.storage_class = class,
                OptionChange::Encryption(encryption) => options.encryption = encryption,
                OptionChange::KmsKey(key) => options.kms_key = key,
                OptionChange::Tags(tags) => options.tags = tags,
                OptionChange::Acl(acl) => options.acl = acl,
                OptionChange::ObjectLock(lock) => options.object_lock = lock,
                OptionChange::LifecycleDeletes(deletes) => options.lifecycle_deletes = deletes,
                OptionChange::DestinationAccount(account) => options.destination_account = account,
                OptionChange::Reconcile(reconcile) => options.reconcile = reconcile,
                OptionChange::RpoSecs(secs) => options.rpo_secs = secs,
                OptionChange::Notifications(choice) => options.notifications = choice,
                OptionChange::EnableEventBridge(enable) => options.enable_eventbridge = enable,
            }
        }
        options
    }
}

impl OptionChange {
    /// Reads one option. Returns `None` if there is no option with this name.
    fn read(name: &str, value: Value) -> Result<Option<Self>, Refusal> {
        let default = Options::default();
        let change = match name {
            "storage_class" => Self::StorageClass(or(default.storage_class, value, storage_class)?),
            "encryption" => Self::Encryption(or(default.encryption, value, encryption)?),
            "kms_key" => Self::KmsKey(or(default.kms_key, value, kms_key)?),
            "tags" => Self::Tags(or(default.tags, value, |value| {
                flag("options.tags", &value)
            })?),
            "acl" => Self::Acl(or(default.acl, value, acl)?),
            "object_lock" => Self::ObjectLock(or(default.object_lock, value, object_lock)?),
            "lifecycle_deletes" => {
                Self::LifecycleDeletes(or(default.lifecycle_deletes, value, |value| {
                    flag("options.lifecycle_deletes", &value)
                })?)
            }
            "destination_account" => Self::DestinationAccount(or(
                default.destination_account,
                value,
                destination_account,
            )?),
            "reconcile" => Self::Reconcile(or(default.reconcile, value, reconcile)?),
            "rpo_secs" => Self::RpoSecs(or(default.rpo_secs, value, |value| rpo_secs(&value))?),
            "notifications" => {
                Self::Notifications(or(default.notifications, value, notifications)?)
            }
            "enable_eventbridge" => {
                Self::EnableEventBridge(or(default.enable_eventbridge, value, |value| {
                    flag("options.enable_eventbridge", &value)
                })?)
            }
            _ => return Ok(None),
        };
        Ok(Some(change))
    }
}

/// Reads a value, or returns the default for null.
fn or<T>(
    default: T,
    value: Value,
    read: impl Fn(Value) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    if value.is_null() {
        Ok(default)
    } else {
        read(value)
    }
}

fn storage_class(value: Value) -> Result<ClassChoice, Refusal> {
    let class = text("options.storage_class", value)?;
    if class == KEEP {
        return Ok(ClassChoice::Keep);
    }
    if STORAGE_CLASSES.contains(&class.as_str()) {
        return Ok(ClassChoice::Always(StorageClass::new(class)));
    }
    let problem = format!(
        "is not a storage class for replicas; use {KEEP:?} (the source's), {}",
        STORAGE_CLASSES.join(", ")
    );
    Err(invalid("options.storage_class", class, problem))
}

fn encryption(value: Value) -> Result<EncryptionChoice, Refusal> {
    let choice = text("options.encryption", value)?;
    match choice.as_str() {
        "bucket" => Ok(EncryptionChoice::Bucket),
        "AES256" => Ok(EncryptionChoice::Aes256),
        "aws:kms" => Ok(EncryptionChoice::Kms),
        _ => Err(invalid(
            "options.encryption",
            choice,
            "is not known; use \"bucket\" (the destination bucket's default), \"AES256\" or \"aws:kms\", the latter \
             with or without a key in options.kms_key",
        )),
    }
}

fn kms_key(value: Value) -> Result<Option<KmsKeyArn>, Refusal> {
    let arn = text("options.kms_key", value)?;
    KmsKeyArn::parse(arn.clone())
        .map(Some)
        .map_err(|error| invalid("options.kms_key", arn, error.to_string()))
}

fn destination_account(value: Value) -> Result<Option<AccountId>, Refusal> {
    let id = text("options.destination_account", value)?;
    AccountId::parse(id.clone())
        .map(Some)
        .map_err(|error| invalid("options.destination_account", id, error.to_string()))
}

fn acl(value: Value) -> Result<AclChoice, Refusal> {
    let choice = text("options.acl", value)?;
    match choice.as_str() {
        "reset" => Ok(AclChoice::Reset),
        KEEP => Ok(AclChoice::Keep),
        _ => Err(invalid(
            "options.acl",
            choice,
            "is not known; use \"reset\" (private) or \"keep\" (the source's grants)",
        )),
    }
}

fn object_lock(value: Value) -> Result<LockChoice, Refusal> {
    let choice = text("options.object_lock", value)?;
    match choice.as_str() {
        "bucket" => Ok(LockChoice::Bucket),
        KEEP => Ok(LockChoice::Keep),
        _ => Err(invalid(
            "options.object_lock",
            choice,
            "is not known; use \"bucket\" (the destination bucket's default) or \"keep\" (as its source)",
        )),
    }
}

fn reconcile(value: Value) -> Result<Reconcile, Refusal> {
    let choice = text("options.reconcile", value)?;
    match choice.as_str() {
        "never" => Ok(Reconcile::Never),
        "daily" => Ok(Reconcile::Daily),
        "weekly" => Ok(Reconcile::Weekly),
        _ => Err(invalid(
            "options.reconcile",
            choice,
            "is not known; use \"never\", \"daily\" or \"weekly\"",
        )),
    }
}

fn notifications(value: Value) -> Result<NotificationChoice, Refusal> {
    let choice = text("options.notifications", value)?;
    match choice.as_str() {
        "auto" => Ok(NotificationChoice::Auto),
        "bucket" => Ok(NotificationChoice::Bucket),
        "eventbridge" => Ok(NotificationChoice::EventBridge),
        _ => Err(invalid(
            "options.notifications",
            choice,
            "is not known; use \"auto\", \"bucket\" (the source bucket's own notifications) or \"eventbridge\"",
        )),
    }
}

fn rpo_secs(value: &Value) -> Result<u32, Refusal> {
    let secs = value.as_u64().and_then(|secs| u32::try_from(secs).ok());
    secs.filter(|secs| RPO_SECS_RANGE.contains(secs))
        .ok_or_else(|| {
            let problem = format!(
                "is not a valid objective; give a whole number of seconds, {} to {}",
                RPO_SECS_RANGE.start(),
                RPO_SECS_RANGE.end()
            );
            invalid("options.rpo_secs", value.to_string(), problem)
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn every_option_is_read_as_it_is_written() {
        let written = json!({
            "storage_class": "GLACIER_IR",
            "encryption": "aws:kms",
            "kms_key": "arn:aws:kms:us-west-2:111122223333:key/1-2",
            "tags": false, "acl": "keep", "object_lock": "keep", "lifecycle_deletes": true,
            "destination_account": "111122223333", "reconcile": "weekly", "rpo_secs": 3600,
            "notifications": "eventbridge", "enable_eventbridge": true,
        });
        let read = OptionChanges::read(written.clone()).unwrap();
        let options = read.of(Options::default());
        assert_eq!(serde_json::to_value(&options).unwrap(), written);
        let same = OptionChanges::read(json!({})).unwrap().of(options.clone());
        assert_eq!(same, options);
        let nulls: Map<String, Value> = written
            .as_object()
            .unwrap()
            .keys()
            .map(|name| (name.clone(), Value::Null))
            .collect();
        let reset = OptionChanges::read(Value::Object(nulls)).unwrap();
        assert_eq!(reset.of(options), Options::default());
    }

    #[test]
    fn a_refusal_names_the_option_its_value_and_what_to_do() {
        for (options, said) in [
            (json!("keep"), r#"options = "\"keep\"": is not an object"#),
            (
                json!({"storage_class": "COLD"}),
                r#"options.storage_class = "COLD": is not a storage class"#,
            ),
            (json!({"tags": "no"}), "give true or false"),
            (json!({"acl": "private"}), r#"use "reset""#),
            (json!({"object_lock": "none"}), r#"use "bucket""#),
            (json!({"reconcile": "hourly"}), r#""daily" or "weekly""#),
            (json!({"notifications": "sns"}), r#"use "auto", "bucket""#),
            (json!({"enable_eventbridge": "yes"}), "give true or false"),
            (json!({"rpo_secs": 59}), "60 to 604800"),
            (json!({"rpo_secs": "900"}), "a whole number of seconds"),
            (json!({"encryption": "SSE-KMS"}), r#"use "bucket""#),
            (json!({"encryption": "aws:kms:dsse"}), "is not known"),
            (json!({"kms_key": "alias/mine"}), "use the whole ARN"),
            (json!({"destination_account": "1234"}), "use its 12 digits"),
            (
                json!({"storage": "keep"}),
                "unknown field `storage`; use any of storage_class, encryption",
            ),
        ] {
            let refusal = OptionChanges::read(options).unwrap_err().to_string();
            assert!(refusal.contains(said), "{said}: {refusal}");
        }
    }
}
