//! Whether a backfill replaces objects that the destination already has under the same keys. No I/O.
//!
//! A check before the write only saves requests. Conditions on the write itself ([`Onto`]) protect objects that must
//! not be replaced, so that an object that is written between the check and the write is not lost.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::bucket_pair::Onto;
use crate::decide::KeepReason;
use crate::names::Etag;
use crate::object::WRITTEN_AT_UNKNOWN;

/// Which objects of the destination may be replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overwrite {
    /// All objects that differ.
    #[default]
    Always,
    /// Objects that were written before their source was.
    IfOlder,
    /// None: only missing objects are written.
    Never,
}

impl Overwrite {
    /// Returns the word for the mode.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::IfOlder => "if-older",
            Self::Never => "never",
        }
    }

    /// Returns the mode with this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Always, Self::IfOlder, Self::Never]
            .into_iter()
            .find(|mode| mode.as_str() == word)
    }

    /// Returns whether it is the mode of live changes, which does not have to be stored.
    pub fn is_always(&self) -> bool {
        *self == Self::Always
    }

    /// Returns what a copy of a source written at `source_at` may replace, or why the replica is kept. `replica` is the
    /// destination's object: its `ETag` and when it was written. Times are in whole seconds, and an object of the same
    /// second is not older. In mode `if-older`, a source whose time is unknown replaces nothing.
    pub fn onto(
        self,
        source_at: Timestamp,
        replica: Option<(&Etag, Timestamp)>,
    ) -> Result<Onto<'_>, KeepReason> {
        match (self, replica) {
            (Self::Always, _) => Ok(Onto::Anything),
            (Self::IfOlder | Self::Never, None) => Ok(Onto::Nothing),
            (Self::IfOlder, Some((etag, at)))
                if at < source_at && source_at != WRITTEN_AT_UNKNOWN =>
            {
                Ok(Onto::Seen(etag))
            }
            (Self::IfOlder, Some(_)) => Err(KeepReason::DestinationIsNewer),
            (Self::Never, Some(_)) => Err(KeepReason::DestinationExists),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_replaces_only_what_it_allows() {
        let at = |secs: i64| Timestamp::UNIX_EPOCH + chrono::TimeDelta::seconds(secs);
        let etag = Etag::new("r");
        let older = Some((&etag, at(9)));
        let same = Some((&etag, at(10)));
        for (mode, replica, onto) in [
            (Overwrite::Always, None, Ok(Onto::Anything)),
            (Overwrite::Always, same, Ok(Onto::Anything)),
            (Overwrite::IfOlder, None, Ok(Onto::Nothing)),
            (Overwrite::IfOlder, older, Ok(Onto::Seen(&etag))),
            (
                Overwrite::IfOlder,
                same,
                Err(KeepReason::DestinationIsNewer),
            ),
            (Overwrite::Never, None, Ok(Onto::Nothing)),
            (Overwrite::Never, older, Err(KeepReason::DestinationExists)),
        ] {
            assert_eq!(mode.onto(at(10), replica), onto, "{mode:?} {replica:?}");
        }
    }

    #[test]
    fn a_mode_is_read_by_its_word() {
        for mode in [Overwrite::Always, Overwrite::IfOlder, Overwrite::Never] {
            assert_eq!(Overwrite::parse(mode.as_str()), Some(mode));
            let json = serde_json::to_value(mode).unwrap();
            assert_eq!(json, mode.as_str());
        }
        assert_eq!(Overwrite::parse("sometimes"), None);
    }
}
