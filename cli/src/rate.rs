//! The rate of a backfill, and the time that it still needs. Time is passed in. No I/O.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

use crate::contract::Job;

/// The window of the rate. The last seconds say more than the time since the start, and the rate
/// jumps less than between two answers.
const WINDOW: TimeDelta = TimeDelta::seconds(20);

/// Below this progress the end cannot be estimated.
const GAINED_MIN: f64 = 0.001;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub objects_per_sec: f64,
    /// Milliseconds until the end, if it can be estimated.
    pub left_ms: Option<f64>,
}

/// Returns the rate from the job's start to its end, or to `now`.
pub fn since_start(job: &Job, now: DateTime<Utc>) -> Option<Rate> {
    let from = Sample {
        at: job.started_at?,
        listed: 0,
        fraction: 0.0,
    };
    let to = Sample::of(job, job.finished_at.unwrap_or(now));
    rate(&from, &to, job.is_finished())
}

/// The last answers about a job, to calculate its rate.
#[derive(Debug, Default)]
pub struct RateMeter {
    samples: VecDeque<Sample>,
}

impl RateMeter {
    /// Adds another answer, and returns the rate.
    pub fn rate(&mut self, job: &Job, now: DateTime<Utc>) -> Option<Rate> {
        let newest = Sample::of(job, now);
        self.samples.push_back(newest);
        // The oldest sample kept is the newest that is at least as old as the window.
        while self
            .samples
            .get(1)
            .is_some_and(|second| now - second.at >= WINDOW)
        {
            self.samples.pop_front();
        }
        let oldest = self.samples.front()?;
        if job.is_finished() || self.samples.len() < 3 {
            return since_start(job, now);
        }
        rate(oldest, &newest, false)
    }
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: DateTime<Utc>,
    listed: u64,
    fraction: f64,
}

impl Sample {
    fn of(job: &Job, at: DateTime<Utc>) -> Self {
        Self {
            at,
            listed: job.listed,
            fraction: job.fraction.unwrap_or(0.0),
        }
    }
}

fn rate(from: &Sample, to: &Sample, is_finished: bool) -> Option<Rate> {
    let elapsed_ms = (to.at - from.at).num_milliseconds() as f64;
    if elapsed_ms <= 0.0 || to.listed < from.listed {
        return None;
    }
    let gained = to.fraction - from.fraction;
    let left_ms = (!is_finished && gained >= GAINED_MIN)
        .then(|| elapsed_ms * (1.0 - to.fraction).max(0.0) / gained);
    Some(Rate {
        objects_per_sec: (to.listed - from.listed) as f64 * 1000.0 / elapsed_ms,
        left_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::job::tests::job;

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + secs, 0).unwrap()
    }

    fn running(listed: u64, fraction: f64) -> Job {
        Job {
            state: "running".into(),
            fraction: Some(fraction),
            listed,
            started_at: Some(at(0)),
            finished_at: None,
            ..job()
        }
    }

    #[test]
    fn the_first_answers_give_the_rate_since_the_start() {
        let rate = since_start(&running(400, 0.25), at(10)).unwrap();
        assert!((rate.objects_per_sec - 40.0).abs() < 1e-9);
        assert!((rate.left_ms.unwrap() - 30_000.0).abs() < 1e-6);
    }

    #[test]
    fn a_finished_job_has_a_rate_and_nothing_left() {
        let job = Job {
            state: "complete".into(),
            finished_at: Some(at(10)),
            ..running(400, 1.0)
        };
        let rate = since_start(&job, at(1000)).unwrap();
        assert!((rate.objects_per_sec - 40.0).abs() < 1e-9);
        assert_eq!(rate.left_ms, None);
    }

    #[test]
    fn later_answers_give_the_rate_of_the_last_seconds() {
        let mut meter = RateMeter::default();
        for second in 0..100_u64 {
            let job = running(second * 10, second as f64 / 1000.0);
            meter.rate(&job, at(i64::try_from(second).unwrap()));
        }
        // The job makes no progress from here on: a window later the rate is zero and the end unknown.
        let mut last = None;
        for second in 100..160 {
            last = meter.rate(&running(990, 0.099), at(second));
        }
        let last = last.unwrap();
        assert!(last.objects_per_sec.abs() < 1e-9);
        assert_eq!(last.left_ms, None);
        assert!(meter.samples.len() < 30);
    }

    #[test]
    fn a_clock_that_is_behind_gives_no_rate() {
        assert_eq!(since_start(&running(400, 0.25), at(-5)), None);
    }
}
