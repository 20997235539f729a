//! Handles one request, from its JSON to the answer.

use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::Value;
use tandem_lambda::request::RequestError;
use tandem_lambda::runtime::Deadline;

use crate::cloudformation::event::ResourceEvent;
use crate::request::Request;
use crate::stack::Stack;
use crate::terraform::TerraformRequest;

impl Stack {
    /// Answers one request.
    pub async fn handle(&self, invocation: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
        let deadline = Deadline::of(invocation.context.deadline());
        self.aws.begin(deadline);
        let answer = self.carry_out(invocation.payload, deadline).await;
        if let Err(error) = &answer {
            tracing::warn!(%error, "the request was refused or failed");
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
            Request::Create(draft, token) => self.create(draft, token).await,
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
}
