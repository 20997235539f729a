//! How the changes of a rule's source reach Tandem: by the bucket's own notification configuration, or by EventBridge.
//! No I/O.

use serde::{Deserialize, Serialize};

use crate::options::{NotificationChoice, Options};

/// How the changes of a source reach Tandem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifiedBy {
    /// The bucket's notification configuration has entries that send to Tandem's queues, or to a topic that does.
    #[default]
    Bucket,
    /// The bucket sends to EventBridge, and rules there send to Tandem's queues.
    EventBridge,
}

/// Whether a bucket sends its notifications to EventBridge. Every consumer of the account shares this switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// The bucket sends them.
    On,
    /// The bucket does not send them.
    Off,
}

/// What to do so that a source's changes reach Tandem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Attach entries to the bucket's notification configuration.
    Bucket,
    /// Create rules of EventBridge.
    EventBridge,
    /// Create rules of EventBridge, and turn the bucket's switch on.
    EventBridgeAndSwitch,
    /// Refuse the rule: it needs EventBridge, and Tandem may not turn the switch on.
    RefuseWithoutSwitch,
}

/// Returns whether to try the bucket's own configuration before reading the switch. A rule that leaves the choice to
/// Tandem keeps its present way, so that another change of the rule never changes it.
pub fn tries_bucket_first(options: &Options, now: NotifiedBy) -> bool {
    match options.notifications {
        NotificationChoice::Bucket => true,
        NotificationChoice::EventBridge => false,
        NotificationChoice::Auto => now == NotifiedBy::Bucket,
    }
}

/// Decides what to do for a rule that is at present notified by `now`. `bucket_takes_entries` is false if the bucket's
/// own configuration was tried and did not accept the rule's entries.
pub fn plan(
    options: &Options,
    now: NotifiedBy,
    switch: Switch,
    bucket_takes_entries: bool,
) -> Plan {
    let by_eventbridge = match switch {
        Switch::On => Plan::EventBridge,
        Switch::Off if options.enable_eventbridge => Plan::EventBridgeAndSwitch,
        Switch::Off => Plan::RefuseWithoutSwitch,
    };
    let stays = now == NotifiedBy::EventBridge && by_eventbridge != Plan::RefuseWithoutSwitch;
    match options.notifications {
        NotificationChoice::Bucket => Plan::Bucket,
        NotificationChoice::Auto if bucket_takes_entries && !stays => Plan::Bucket,
        NotificationChoice::Auto | NotificationChoice::EventBridge => by_eventbridge,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(notifications: NotificationChoice, enable_eventbridge: bool) -> Options {
        Options {
            notifications,
            enable_eventbridge,
            ..Options::default()
        }
    }

    fn any_options() -> impl Strategy<Value = Options> {
        let choice = prop_oneof![
            Just(NotificationChoice::Auto),
            Just(NotificationChoice::Bucket),
            Just(NotificationChoice::EventBridge),
        ];
        (choice, any::<bool>()).prop_map(|(choice, enable)| options(choice, enable))
    }

    fn any_way() -> impl Strategy<Value = NotifiedBy> {
        prop_oneof![Just(NotifiedBy::Bucket), Just(NotifiedBy::EventBridge)]
    }

    fn any_switch() -> impl Strategy<Value = Switch> {
        prop_oneof![Just(Switch::On), Just(Switch::Off)]
    }

    proptest! {
        #[test]
        fn the_switch_is_turned_on_only_if_it_is_off_and_the_rule_says_so(
            options in any_options(), now in any_way(), switch in any_switch(), takes in any::<bool>()
        ) {
            if plan(&options, now, switch, takes) == Plan::EventBridgeAndSwitch {
                prop_assert!(options.enable_eventbridge && switch == Switch::Off);
            }
        }

        #[test]
        fn a_rule_is_refused_only_without_a_switch_and_without_a_bucket_that_takes_its_entries(
            options in any_options(), now in any_way(), switch in any_switch(), takes in any::<bool>()
        ) {
            if plan(&options, now, switch, takes) == Plan::RefuseWithoutSwitch {
                prop_assert_eq!(switch, Switch::Off);
                prop_assert!(!options.enable_eventbridge);
                prop_assert!(options.notifications == NotificationChoice::EventBridge || !takes);
            }
        }

        #[test]
        fn a_rules_own_choice_is_kept(
            enable in any::<bool>(), now in any_way(), switch in any_switch(), takes in any::<bool>()
        ) {
            let bucket = options(NotificationChoice::Bucket, enable);
            prop_assert_eq!(plan(&bucket, now, switch, takes), Plan::Bucket);
            let eventbridge = options(NotificationChoice::EventBridge, enable);
            prop_assert_ne!(plan(&eventbridge, now, switch, takes), Plan::Bucket);
        }

        #[test]
        fn auto_keeps_its_present_way_while_that_works(enable in any::<bool>(), takes in any::<bool>()) {
            let auto = options(NotificationChoice::Auto, enable);
            prop_assert!(tries_bucket_first(&auto, NotifiedBy::Bucket));
            prop_assert!(!tries_bucket_first(&auto, NotifiedBy::EventBridge));
            let later = plan(&auto, NotifiedBy::EventBridge, Switch::On, takes);
            prop_assert_eq!(later, Plan::EventBridge);
        }
    }

    #[test]
    fn auto_prefers_the_bucket_then_eventbridge_then_a_refusal() {
        let auto = options(NotificationChoice::Auto, false);
        let of_new_rule = |switch, takes| plan(&auto, NotifiedBy::Bucket, switch, takes);
        assert_eq!(of_new_rule(Switch::On, true), Plan::Bucket);
        assert_eq!(of_new_rule(Switch::On, false), Plan::EventBridge);
        assert_eq!(of_new_rule(Switch::Off, false), Plan::RefuseWithoutSwitch);
        let may_turn_on = options(NotificationChoice::Auto, true);
        assert_eq!(
            plan(&may_turn_on, NotifiedBy::Bucket, Switch::Off, false),
            Plan::EventBridgeAndSwitch
        );
        // Another user has turned the switch off, and the bucket can take the entries by now.
        assert_eq!(
            plan(&auto, NotifiedBy::EventBridge, Switch::Off, true),
            Plan::Bucket
        );
    }
}
