//! Requests that are refused: every refusal names the field, the value and what to do. No I/O.

/// The refusal of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {}: {problem}", shown(value))]
pub struct Refusal {
    /// The kind of refusal, for programs.
    pub code: RefusalCode,
    /// The field of the request.
    pub field: &'static str,
    /// The value it had.
    pub value: String,
    /// What is wrong with it, and what to do instead.
    pub problem: String,
}

/// Returns a text in quotes, and JSON as it is.
fn shown(value: &str) -> String {
    if value.starts_with(['{', '[']) {
        value.to_owned()
    } else {
        format!("{value:?}")
    }
}

/// The kinds of refusal, as callers see them in `errorType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract's table of codes describes each")]
pub enum RefusalCode {
    InvalidRequest,
    InvalidBucketName,
    SameBucket,
    SameRegion,
    RegionsNotAllowed,
    InvalidScope,
    InvalidOptions,
    BucketInUse,
    TwoWay,
    BucketNotFound,
    BucketNotAccessible,
    SourceOutsideRegion,
    DestinationRegionMismatch,
    NotificationConflict,
    RuleNotFound,
    JobNotFound,
    JobStateConflict,
    FailureNotFound,
    RuleStateConflict,
}

impl RefusalCode {
    /// Returns the word that callers see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "InvalidRequest",
            Self::InvalidBucketName => "InvalidBucketName",
            Self::SameBucket => "SameBucket",
            Self::SameRegion => "SameRegion",
            Self::RegionsNotAllowed => "RegionsNotAllowed",
            Self::InvalidScope => "InvalidScope",
            Self::InvalidOptions => "InvalidOptions",
            Self::BucketInUse => "BucketInUse",
            Self::TwoWay => "TwoWay",
            Self::BucketNotFound => "BucketNotFound",
            Self::BucketNotAccessible => "BucketNotAccessible",
            Self::SourceOutsideRegion => "SourceOutsideRegion",
            Self::DestinationRegionMismatch => "DestinationRegionMismatch",
            Self::NotificationConflict => "NotificationConflict",
            Self::RuleNotFound => "RuleNotFound",
            Self::JobNotFound => "JobNotFound",
            Self::JobStateConflict => "JobStateConflict",
            Self::FailureNotFound => "FailureNotFound",
            Self::RuleStateConflict => "RuleStateConflict",
        }
    }
}

impl Refusal {
    /// Creates a refusal of `value` in `field`.
    pub fn new(
        code: RefusalCode,
        field: &'static str,
        value: impl Into<String>,
        problem: impl Into<String>,
    ) -> Self {
        Self {
            code,
            field,
            value: value.into(),
            problem: problem.into(),
        }
    }
}
