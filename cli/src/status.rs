//! `tandem status`: shows the progress of replication, once or until Ctrl-C. I/O: `configure-rule`,
//! stdout, and bars on stderr.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt, TryStreamExt};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::args::{Output, StatusArgs};
use crate::client::{Answer, Client};
use crate::contract::{ConfigureRule, Progress, RulesAnswer};
use crate::error::Error;
use crate::exit::Exit;
use crate::job;
use crate::rate::{self, Rate, RateMeter};
use crate::render;
use crate::terminal;
use crate::watch::{self, Patience};

/// Rules whose progress is requested at once.
const ASKED_AT_ONCE: usize = 8;

pub async fn run(client: &Client, output: Output, args: StatusArgs) -> Result<Exit, Error> {
    if args.watch {
        terminal::until_interrupted(watch(client, output, &args)).await?;
        return Ok(Exit::Ok);
    }
    let look = Look::take(client, &args).await?;
    if output == Output::Json {
        terminal::print_json(&look.json())?;
        return Ok(Exit::Ok);
    }
    let progress = look.progress()?;
    let failures: u64 = progress.iter().filter_map(|rule| rule.failures).sum();
    let texts: Vec<String> = progress
        .iter()
        .map(|progress| {
            let now = terminal::now();
            let rate = progress
                .historical
                .as_ref()
                .and_then(|job| rate::since_start(job, now));
            text(progress, rate, now, args.rule.is_some())
        })
        .collect();
    if texts.is_empty() {
        terminal::note("There are no rules yet; `tandem rule create` creates one.");
    } else {
        terminal::print(texts.join("\n\n"))?;
    }
    if failures > 0 {
        terminal::note("`tandem failures list` shows what failed and why.");
    }
    Ok(Exit::Ok)
}

/// Renders one rule's progress, and lists its transfers if it is the only rule that was requested.
fn text(progress: &Progress, rate: Option<Rate>, now: DateTime<Utc>, alone: bool) -> String {
    let text = render::status::status(progress, rate, now);
    with_transfers(text, progress, now, alone)
}

fn with_transfers(text: String, progress: &Progress, now: DateTime<Utc>, alone: bool) -> String {
    match render::status::transfers(&progress.transfers, now) {
        Some(table) if alone => format!("{text}\n{table}"),
        _ => text,
    }
}

async fn watch(client: &Client, output: Output, args: &StatusArgs) -> Result<(), Error> {
    let interval = Duration::from_secs(args.interval);
    let mut patience = Patience::default();
    let mut board = Board::default();
    board.alone = args.rule.is_some();
    loop {
        let response = Look::take(client, args).await;
        if let Some(look) = patience.outlive(response, |text| board.tell(&text))? {
            match output {
                Output::Json => terminal::print_json_line(&look.json())?,
                Output::Table => board.show(&look.progress()?)?,
            }
        }
        watch::pause(interval).await;
    }
}

/// The answers of one moment: for the one rule that was requested, or for every rule.
enum Look {
    One(Answer),
    Every(Vec<Answer>),
}

impl Look {
    async fn take(client: &Client, args: &StatusArgs) -> Result<Self, Error> {
        if let Some(rule) = &args.rule {
            return Ok(Self::One(ask(client, rule, args.window_mins).await?));
        }
        let rules = client.configure_rule(&ConfigureRule::List).await?;
        let rules = rules.read::<RulesAnswer>()?.rules;
        let answers: Vec<Option<Answer>> = stream::iter(rules)
            .map(|rule| async move {
                match ask(client, &rule.id, args.window_mins).await {
                    Ok(answer) => Ok(Some(answer)),
                    // The rule was deleted after it was listed.
                    Err(Error::Refused { code, .. }) if code == "RuleNotFound" => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .buffered(ASKED_AT_ONCE)
            .try_collect()
            .await?;
        Ok(Self::Every(answers.into_iter().flatten().collect()))
    }

    fn progress(&self) -> Result<Vec<Progress>, Error> {
        match self {
            Self::One(answer) => Ok(vec![answer.read()?]),
            Self::Every(answers) => answers.iter().map(Answer::read).collect(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::One(answer) => answer.json.clone(),
            Self::Every(answers) => {
                let progress: Vec<&Value> = answers.iter().map(|answer| &answer.json).collect();
                json!({ "progress": progress })
            }
        }
    }
}

async fn ask(client: &Client, rule: &str, window_mins: Option<u32>) -> Result<Answer, Error> {
    let request = ConfigureRule::Progress { rule, window_mins };
    client.configure_rule(&request).await
}

/// The rules on the screen, each with its bar, redrawn in place. If stderr is no terminal, every
/// update is printed as text.
#[derive(Default)]
struct Board {
    screen: MultiProgress,
    rows: HashMap<String, Row>,
    /// Whether one rule was requested, not all of them.
    alone: bool,
}

#[derive(Default)]
struct Row {
    bar: Option<ProgressBar>,
    meter: RateMeter,
}

impl Board {
    fn tell(&self, text: &str) {
        self.screen.suspend(|| terminal::note(text));
    }

    fn show(&mut self, rules: &[Progress]) -> Result<(), Error> {
        let now = terminal::now();
        // A deleted rule leaves the screen.
        self.rows.retain(|id, row| {
            let is_there = rules.iter().any(|progress| progress.rule.id == *id);
            if !is_there {
                row.clear();
            }
            is_there
        });
        let mut texts = Vec::new();
        for progress in rules {
            let row = self.rows.entry(progress.rule.id.clone()).or_default();
            let rate = progress
                .historical
                .as_ref()
                .and_then(|job| row.meter.rate(job, now));
            if terminal::shows_bars() {
                row.draw(&self.screen, progress, rate, now, self.alone);
            } else {
                texts.push(text(progress, rate, now, self.alone));
            }
        }
        if !texts.is_empty() {
            terminal::print(texts.join("\n\n") + "\n")?;
        }
        Ok(())
    }
}

impl Drop for Board {
    /// Keeps the last output. The bars must not be drawn again, because their lines would be miscounted.
    fn drop(&mut self) {
        self.screen.set_draw_target(ProgressDrawTarget::hidden());
    }
}

impl Row {
    fn draw(
        &mut self,
        screen: &MultiProgress,
        progress: &Progress,
        rate: Option<Rate>,
        now: DateTime<Utc>,
        alone: bool,
    ) {
        let lines = render::status::status_lines(progress, rate, now);
        let rest = with_transfers(lines.rest, progress, now, alone);
        let is_new = self.bar.is_none();
        // A new bar is filled before it is drawn for the first time.
        let bar = self
            .bar
            .get_or_insert_with(|| job::bar(ProgressDrawTarget::hidden()));
        bar.set_style(style(progress.historical.is_some()));
        bar.set_position(progress.historical.as_ref().map_or(0, job::position));
        bar.set_prefix(lines.head);
        bar.set_message(format!("{}\n{rest}\n", lines.historical));
        if is_new {
            screen.add(bar.clone()).tick();
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(has_bar: bool) -> ProgressStyle {
    let template = if has_bar {
        "{prefix}\n  historical {bar:20}  {msg}"
    } else {
        "{prefix}\n  historical {msg}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("█▓░")
}
