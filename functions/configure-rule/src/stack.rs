//! What a request is carried out with. Every kind of request has its own file; each extends this.

use std::time::Duration;

use tandem_aws::Aws;
use tandem_aws::event_rules::EventRules;
use tandem_aws::queues::Queues;
use tandem_aws::table::Table;
use tandem_lambda::config::Config;
use tandem_lambda::request::{RequestError, find_rule};
use tandem_lambda::runtime::Error;
use tandem_replication::rule::Rule;

use crate::request::RuleName;

/// What has to be left of an invocation to begin another page of anything.
pub(crate) const ENOUGH_TIME: Duration = Duration::from_secs(20);

/// The stack, as far as rules are concerned.
#[derive(Debug)]
pub struct Stack {
    pub(crate) config: Config,
    pub(crate) aws: Aws,
    pub(crate) table: Table,
    pub(crate) queues: Queues,
    pub(crate) event_rules: EventRules,
}

impl Stack {
    /// Reads the environment and builds the clients.
    pub async fn start() -> Result<Self, Error> {
        let config = Config::from_environment()?;
        let aws = Aws::from_environment(config.account_id.clone()).await?;
        Ok(Self {
            table: Table::new(&aws, &config.rule_table),
            queues: Queues::new(&aws),
            event_rules: EventRules::new(&aws, &config.stack),
            config,
            aws,
        })
    }

    /// The rule of this id, or with this bucket.
    pub(crate) async fn find(&self, name: &RuleName) -> Result<Rule, RequestError> {
        find_rule(&self.table, &name.0).await
    }
}
