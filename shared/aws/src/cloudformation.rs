//! CloudFormation: responses to custom resources ([`callback`]), and whether a stack is being deleted ([`stacks`]).

pub mod callback;
pub mod stacks;
