//! Measures the time from a function's start to its first answer, and the function's size.

use std::time::Instant;

use tandem_tests::function_process::Start;

use crate::args::Sizes;
use crate::measured::{FunctionMeasured, Spread};
use crate::stage::Stage;
use crate::usage::Usage;

/// Measures each function in turn.
pub async fn of_all(stage: &Stage, sizes: &Sizes) -> Vec<FunctionMeasured> {
    let mut all = Vec::new();
    for name in &stage.binaries.names {
        all.push(of(stage, name, sizes.starts()).await);
    }
    all
}

async fn of(stage: &Stage, name: &str, starts: usize) -> FunctionMeasured {
    let start: Start = stage.function(name).await;
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    let mut peak_memory_bytes = 0;
    for _ in 0..starts {
        let start = start.clone();
        let began = Instant::now();
        let function = start.start().await;
        function.wake().await;
        cold.push(began.elapsed());
        let began = Instant::now();
        function.wake().await;
        warm.push(began.elapsed());
        peak_memory_bytes = peak_memory_bytes.max(Usage::of(function.id()).peak_bytes);
    }
    let (binary_bytes, zipped_bytes) = stage.binaries.bytes(name);
    FunctionMeasured {
        name: name.to_owned(),
        starts,
        cold_start_ms: Spread::of(&cold),
        warm_ms: Spread::of(&warm),
        peak_memory_bytes,
        binary_bytes,
        zipped_bytes,
    }
}
