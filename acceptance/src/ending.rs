//! The end of a run: removes everything, and prints what it cannot remove. I/O: the terminal, and the removal.

use tandem_demo::console;
use tandem_demo::error::Error;

use crate::account::Account;
use crate::args::Args;
use crate::interrupts::Interrupts;
use crate::leftovers::{Thing, listed};
use crate::removal::{Left, Removal};
use crate::report::LeftBehind;

/// Finds and removes what this run, or every run, has made. At the first signal after the `before` earlier ones it
/// prints what still exists; at the second it ends the removal. Returns what is left, with the reasons.
pub async fn remove_all(
    args: &Args,
    account: &Account,
    interrupts: &Interrupts,
    run: Option<&str>,
    before: u32,
) -> Vec<LeftBehind> {
    let left = Left::default();
    let removal = Removal {
        account,
        regions: &args.regions,
        left: &left,
    };
    let profile = args.profile.as_deref();
    let behind = |thing: &Thing, why: &str| LeftBehind {
        what: thing.shown(),
        why: why.to_owned(),
        command: thing.by_hand(profile),
    };
    let removing = async {
        let failed = match removal.find(run).await {
            Ok(found) => removal.remove(found, run).await,
            Err(error) => return vec![not_found_out(&error)],
        };
        // The second search finds what was made meanwhile, and what AWS still lists although it was removed.
        match removal.find(run).await {
            Ok(again) => again
                .iter()
                .map(|thing| {
                    let why = failed
                        .iter()
                        .find(|(other, _)| other == thing)
                        .map(|(_, why)| why.as_str());
                    behind(thing, why.unwrap_or("it is still listed"))
                })
                .collect(),
            Err(error) => vec![not_found_out(&error)],
        }
    };
    let reminding = async {
        interrupts.reach(before + 1).await;
        console::end_line();
        console::say("the removal goes on; still there:");
        match left.now() {
            things if things.is_empty() => console::say("still searching for the run's resources"),
            things => console::say(listed(&things, profile)),
        }
        console::say("Ctrl-C again ends the removal and leaves these");
        interrupts.reach(before + 2).await
    };
    tokio::select! {
        left = removing => left,
        _ = reminding => left.now().iter().map(|thing| behind(thing, "the removal was interrupted")).collect(),
    }
}

fn not_found_out(error: &Error) -> LeftBehind {
    LeftBehind {
        what: "anything that the run has made".to_owned(),
        why: format!("the search for the run's resources failed: {error}"),
        command: "make acceptance CLEAN=1".to_owned(),
    }
}

/// Prints what is left, and how to remove it.
pub fn say_what_is_left(left: &[LeftBehind]) {
    if left.is_empty() {
        console::print("everything is removed");
        return;
    }
    console::print("NOT removed; remove it with these commands, or with: make acceptance CLEAN=1");
    for thing in left {
        console::say(format!(
            "{}: {}\n    {}",
            thing.what, thing.why, thing.command
        ));
    }
}
