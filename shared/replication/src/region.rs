//! The regions between which a rule may replicate. No I/O.

use crate::names::Region;

/// The default groups: Mainland China, and Eastern and Western United States.
pub const DEFAULT_GROUPS: &str =
    "cn-north-1,cn-northwest-1;us-east-1,us-east-2,us-west-1,us-west-2";

/// The allowed pairs of regions: two of one group, or any two if the stack's parameter is `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegionGroups {
    /// Any two different regions.
    Any,
    /// Two different regions of the same group.
    Groups(Vec<Vec<Region>>),
}

/// Why a text does not describe region groups.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} does not describe region groups: write `*`, or groups of at least two regions, regions separated by commas and groups by semicolons, such as {DEFAULT_GROUPS:?}"
)]
pub struct RegionGroupsError(String);

impl RegionGroups {
    /// Reads the stack's parameter: `*`, or `a,b;c,d,e`.
    pub fn parse(text: &str) -> Result<Self, RegionGroupsError> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let bad = || RegionGroupsError(text.to_owned());
        let well_formed = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        text.split(';')
            .map(|group| {
                let regions: Vec<&str> = group.split(',').map(str::trim).collect();
                let usable = regions.len() >= 2 && regions.iter().all(|name| well_formed(name));
                if usable {
                    Ok(regions.into_iter().map(Region::new).collect())
                } else {
                    Err(bad())
                }
            })
            .collect::<Result<_, _>>()
            .map(Self::Groups)
    }

    /// Returns whether objects may be replicated from one of these regions to the other.
    pub fn allow(&self, source: &Region, destination: &Region) -> bool {
        source != destination
            && match self {
                Self::Any => true,
                Self::Groups(groups) => groups
                    .iter()
                    .any(|group| group.contains(source) && group.contains(destination)),
            }
    }

    /// Returns the regions to which a bucket in `source` may be replicated, sorted; `None` means any other region.
    pub fn destinations_from(&self, source: &Region) -> Option<Vec<Region>> {
        let Self::Groups(groups) = self else {
            return None;
        };
        let mut regions: Vec<Region> = groups
            .iter()
            .filter(|group| group.contains(source))
            .flatten()
            .filter(|region| *region != source)
            .cloned()
            .collect();
        regions.sort();
        regions.dedup();
        Some(regions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        Region::new(name)
    }

    #[test]
    fn the_default_groups_are_china_and_the_united_states() {
        let groups = RegionGroups::parse(DEFAULT_GROUPS).unwrap();
        assert!(groups.allow(&region("us-east-1"), &region("us-west-2")));
        assert!(groups.allow(&region("cn-north-1"), &region("cn-northwest-1")));
        assert!(!groups.allow(&region("us-east-1"), &region("cn-north-1")));
        assert!(!groups.allow(&region("us-east-1"), &region("us-east-1")));
        assert!(!groups.allow(&region("eu-west-1"), &region("us-east-1")));
        let from_ohio = groups.destinations_from(&region("us-east-2")).unwrap();
        assert_eq!(
            from_ohio,
            ["us-east-1", "us-west-1", "us-west-2"].map(region)
        );
        assert_eq!(groups.destinations_from(&region("eu-west-1")), Some(vec![]));
    }

    #[test]
    fn a_star_allows_any_two_different_regions() {
        let any = RegionGroups::parse(" * ").unwrap();
        assert!(any.allow(&region("eu-west-1"), &region("us-east-1")));
        assert!(!any.allow(&region("eu-west-1"), &region("eu-west-1")));
        assert_eq!(any.destinations_from(&region("eu-west-1")), None);
    }

    #[test]
    fn incomplete_groups_are_refused() {
        for text in ["", "us-east-1", "a,b;", "a,,b", "a b,c", "*,a"] {
            assert!(RegionGroups::parse(text).is_err(), "{text:?}");
        }
    }
}
