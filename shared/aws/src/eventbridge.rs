//! EventBridge: the rules that send a source's changes ([`event_rules`]), and the bus on which failures are published
//! ([`event_bus`]).

pub mod event_bus;
pub mod event_rules;
