//! The resources of runs, the order of their removal, and the commands that remove them by hand. No I/O.

use crate::names::run_of;

/// A resource that a run has made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// A stack that declares a rule. Deleting it needs Tandem's stack.
    CodeStack(Place),
    /// A stack of Tandem.
    Stack(Place),
    /// A rule of EventBridge.
    EventRule(Place),
    /// A bucket, with its contents.
    Bucket(Place),
    /// A log group.
    LogGroup(Place),
}

/// A name in a region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The region.
    pub region: String,
    /// The name.
    pub name: String,
}

impl Thing {
    /// Returns its name and region.
    pub fn place(&self) -> &Place {
        match self {
            Self::CodeStack(place)
            | Self::Stack(place)
            | Self::EventRule(place)
            | Self::Bucket(place)
            | Self::LogGroup(place) => place,
        }
    }

    /// Returns a stack of the kind that its name says.
    pub fn stack(place: Place) -> Self {
        if place.name.ends_with("-rule") {
            Self::CodeStack(place)
        } else {
            Self::Stack(place)
        }
    }

    /// Returns the run that made it, by its name.
    pub fn run(&self) -> Option<&str> {
        let name = &self.place().name;
        run_of(name.strip_prefix("/aws/lambda/").unwrap_or(name))
    }

    /// Returns a text such as `the bucket tandem-acceptance-...-source in us-east-1`.
    pub fn shown(&self) -> String {
        let what = match self {
            Self::CodeStack(_) | Self::Stack(_) => "the stack",
            Self::EventRule(_) => "the EventBridge rule",
            Self::Bucket(_) => "the bucket",
            Self::LogGroup(_) => "the log group",
        };
        let Place { region, name } = self.place();
        format!("{what} {name} in {region}")
    }

    /// Returns the commands that remove it by hand, in the user's profile.
    pub fn by_hand(&self, profile: Option<&str>) -> String {
        let Place { region, name } = self.place();
        let profile = profile.map_or_else(String::new, |name| format!(" --profile {name}"));
        let with = format!("--region {region}{profile}");
        match self {
            Self::CodeStack(_) | Self::Stack(_) => format!(
                "aws cloudformation delete-stack --stack-name {name} {with} && \
                 aws cloudformation wait stack-delete-complete --stack-name {name} {with}"
            ),
            Self::EventRule(_) => format!(
                "aws events remove-targets --rule {name} {with} --ids $(aws events list-targets-by-rule --rule {name} \
                 {with} --query 'Targets[].Id' --output text) && aws events delete-rule --name {name} {with}"
            ),
            Self::Bucket(_) => format!(
                "aws s3api delete-objects --bucket {name} {with} --delete \"$(aws s3api list-object-versions \
                 --bucket {name} {with} --max-items 1000 --query \
                 '{{Objects: [Versions, DeleteMarkers][][].{{Key: Key, VersionId: VersionId}}}}')\"; \
                 aws s3 rb s3://{name} --force {with}"
            ),
            Self::LogGroup(_) => {
                format!("aws logs delete-log-group --log-group-name {name} {with}")
            }
        }
    }
}

/// Returns what has to be removed, in stages: the things of one stage can be removed at the same time. Leaves out
/// things that no run has made, and things of other runs unless all runs are wanted.
pub fn stages(found: Vec<Thing>, run: Option<&str>) -> Vec<Vec<Thing>> {
    let mut stages: [Vec<Thing>; 3] = Default::default();
    for thing in found {
        let Some(of) = thing.run() else {
            continue;
        };
        if run.is_some_and(|wanted| wanted != of) {
            continue;
        }
        let stage = match thing {
            // First, because a function of Tandem's stack deletes its rule.
            Thing::CodeStack(_) => 0,
            // Before the buckets, so that Tandem no longer writes into them.
            Thing::Stack(_) => 1,
            Thing::EventRule(_) | Thing::Bucket(_) | Thing::LogGroup(_) => 2,
        };
        stages[stage].push(thing);
    }
    for stage in &mut stages {
        stage.sort();
        stage.dedup();
    }
    stages
        .into_iter()
        .filter(|stage| !stage.is_empty())
        .collect()
}

/// Lists things that still exist, with the commands that remove them.
pub fn listed(things: &[Thing], profile: Option<&str>) -> String {
    let lines: Vec<String> = things
        .iter()
        .map(|thing| format!("{}\n    {}", thing.shown(), thing.by_hand(profile)))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "1a2b3c4d5e6";
    const OTHER: &str = "1a2b3c4d5e7";

    fn place(name: &str) -> Place {
        Place {
            region: "us-east-1".to_owned(),
            name: name.to_owned(),
        }
    }

    fn found() -> Vec<Thing> {
        let name = |run: &str, what: &str| place(&format!("tandem-acceptance-{run}{what}"));
        let logs = format!("/aws/lambda/tandem-acceptance-{RUN}-backfill");
        vec![
            Thing::Bucket(name(RUN, "-plain-source")),
            Thing::stack(name(RUN, "")),
            Thing::stack(name(RUN, "-back")),
            Thing::stack(name(RUN, "-rule")),
            Thing::LogGroup(place(&logs)),
            Thing::EventRule(name(RUN, "-events")),
            Thing::Bucket(name(OTHER, "-plain-source")),
            Thing::Bucket(place("tandem-acceptance-photos")),
            Thing::Bucket(name(RUN, "-plain-source")),
        ]
    }

    fn names(stages: &[Vec<Thing>]) -> Vec<Vec<&str>> {
        stages
            .iter()
            .map(|stage| {
                stage
                    .iter()
                    .map(|thing| thing.place().name.as_str())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn rules_are_removed_before_their_stack_and_stacks_before_buckets() {
        let stages = stages(found(), Some(RUN));
        let own = |what: &str| format!("tandem-acceptance-{RUN}{what}");
        assert_eq!(
            names(&stages),
            [
                vec![own("-rule").as_str()],
                vec![own("").as_str(), own("-back").as_str()],
                vec![
                    own("-events").as_str(),
                    own("-plain-source").as_str(),
                    format!("/aws/lambda/{}", own("-backfill")).as_str(),
                ],
            ]
        );
    }

    #[test]
    fn other_runs_are_removed_only_if_all_are_wanted_and_other_resources_never() {
        let all: Vec<Thing> = stages(found(), None).into_iter().flatten().collect();
        assert!(all.iter().any(|thing| thing.run() == Some(OTHER)));
        assert!(all.iter().all(|thing| thing.run().is_some()));
        let own: Vec<Thing> = stages(found(), Some(RUN)).into_iter().flatten().collect();
        assert!(own.iter().all(|thing| thing.run() == Some(RUN)));
        assert!(stages(vec![Thing::Bucket(place("tandem-acceptance-photos"))], None).is_empty());
    }

    #[test]
    fn every_thing_has_a_command_with_its_name_its_region_and_the_profile() {
        for thing in found() {
            let command = thing.by_hand(Some("sandbox"));
            assert!(command.starts_with("aws "), "{command}");
            for part in [
                thing.place().name.as_str(),
                "--region us-east-1",
                "--profile sandbox",
            ] {
                assert!(command.contains(part), "{command} lacks {part}");
            }
            assert!(!thing.by_hand(None).contains("--profile"));
        }
    }

    #[test]
    fn a_list_of_things_has_each_thing_and_its_command() {
        let things = [Thing::LogGroup(place("/aws/lambda/x"))];
        assert_eq!(
            listed(&things, None),
            "the log group /aws/lambda/x in us-east-1\n    \
             aws logs delete-log-group --log-group-name /aws/lambda/x --region us-east-1"
        );
    }
}
