//! One request, from its JSON to the answer.

use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::Value;
use tandem_aws::Aws;
use tandem_aws::queues::Queues;
use tandem_aws::table::Table;
use tandem_lambda::config::Config;
use tandem_lambda::runtime::Error;
use tandem_replication::draft::{Refusal, RefusalCode};
use tandem_replication::names::RuleId;
use tandem_replication::rule::Rule;

use crate::error::ConfigureError;
use crate::request::{Request, RuleName};

/// The stack, as far as rules are concerned.
#[derive(Debug)]
pub struct Stack {
    pub(crate) config: Config,
    pub(crate) aws: Aws,
    pub(crate) table: Table,
    pub(crate) queues: Queues,
}

impl Stack {
    /// Reads the environment and builds the clients.
    pub async fn start() -> Result<Self, Error> {
        let config = Config::from_environment()?;
        let aws = Aws::from_environment(config.account_id.clone()).await?;
        Ok(Self {
            table: Table::new(&aws, &config.rule_table),
            queues: Queues::new(&aws),
            config,
            aws,
        })
    }

    /// Answers one request.
    pub async fn handle(&self, invocation: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
        let answer = self.carry_out(invocation.payload).await;
        if let Err(error) = &answer {
            tracing::warn!(%error, "not carried out");
        }
        Ok(answer?)
    }

    async fn carry_out(&self, payload: Value) -> Result<Value, ConfigureError> {
        match Request::parse(payload)? {
            Request::Create(draft) => self.create(draft).await,
            Request::Get(name) => self.get(&name).await,
            Request::List => self.list().await,
            Request::Update(name, changes) => self.update(&name, changes).await,
            Request::Pause(name) => self.pause(&name).await,
            Request::Resume(name) => self.resume(&name).await,
            Request::Delete(name) => self.delete(&name).await,
            Request::Progress(name, window_mins) => self.progress(&name, window_mins).await,
            Request::Destinations(source) => self.destinations(&source).await,
        }
    }

    /// The rule of this id, or with this bucket.
    pub(crate) async fn find(&self, name: &RuleName) -> Result<Rule, ConfigureError> {
        let by_id = self.table.rule(&RuleId::new(&*name.0)).await?;
        let found = match by_id {
            Some(rule) => Some(rule),
            None => match self.table.claim(&name.0).await? {
                Some(claim) => self.table.rule(&claim.rule_id).await?,
                None => None,
            },
        };
        found.ok_or_else(|| {
            let problem = "is neither a rule's id nor one of its buckets; the action \"list\" shows all rules";
            Refusal::new(RefusalCode::RuleNotFound, "rule", &*name.0, problem).into()
        })
    }
}
