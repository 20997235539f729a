//! The stack that carries out requests. Every kind of request has its own file, which extends [`Stack`].

use std::ops::Deref;
use std::time::Duration;

use tandem_aws::eventbridge::event_rules::EventRules;
use tandem_lambda::request::{RequestError, find_rule};
use tandem_lambda::runtime::Error;
use tandem_lambda::services::Services;
use tandem_replication::rule::Rule;

use crate::request::RuleName;

/// How much time an invocation must have left to begin another page.
pub(crate) const ENOUGH_TIME: Duration = Duration::from_secs(20);

/// The services that requests about rules need.
#[derive(Debug)]
pub struct Stack {
    services: Services,
    pub(crate) event_rules: EventRules,
}

impl Deref for Stack {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.services
    }
}

impl Stack {
    /// Reads the environment and builds the clients.
    pub async fn start() -> Result<Self, Error> {
        let services = Services::start().await?;
        let event_rules = EventRules::new(&services.aws, &services.config.stack);
        Ok(Self {
            services,
            event_rules,
        })
    }

    /// Returns the rule with this id, or with this bucket.
    pub(crate) async fn find(&self, name: &RuleName) -> Result<Rule, RequestError> {
        find_rule(&self.table, &name.0).await
    }
}
