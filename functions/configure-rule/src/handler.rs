//! One request, from its JSON to the answer.

use std::time::Duration;

use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::Value;
use tandem_aws::Aws;
use tandem_aws::queues::Queues;
use tandem_aws::table::Table;
use tandem_lambda::config::Config;
use tandem_lambda::request::{RequestError, find_rule};
use tandem_lambda::runtime::{Deadline, Error};
use tandem_replication::rule::Rule;

use crate::cloudformation::event::ResourceEvent;
use crate::request::{Request, RuleName};
use crate::terraform::TerraformRequest;

/// What has to be left of an invocation to begin another page of anything.
pub(crate) const ENOUGH_TIME: Duration = Duration::from_secs(20);

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
        let deadline = Deadline::of(invocation.context.deadline());
        let answer = self.carry_out(invocation.payload, deadline).await;
        if let Err(error) = &answer {
            tracing::warn!(%error, "not carried out");
        }
        Ok(answer?)
    }

    async fn carry_out(&self, payload: Value, deadline: Deadline) -> Result<Value, RequestError> {
        if let Some(event) = ResourceEvent::recognise(&payload) {
            return self.answer_cloudformation(&event, deadline).await;
        }
        if let Some(request) = TerraformRequest::recognise(&payload) {
            return self.answer_terraform(request?).await;
        }
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
            Request::Failures(choice, limit) => self.failures(&choice, limit, deadline).await,
            Request::Failure(name, key) => self.failure(&name, &key).await,
            Request::Check(only) => self.check(only.as_ref(), deadline).await,
            Request::Retry(choice) => self.retry(&choice, deadline).await,
        }
    }

    /// The rule of this id, or with this bucket.
    pub(crate) async fn find(&self, name: &RuleName) -> Result<Rule, RequestError> {
        find_rule(&self.table, &name.0).await
    }
}
