//! Transfers under every schedule.

mod transfer_search;

use tandem_replication::overwrite::Overwrite;
use tandem_replication::rule::Policy;
use transfer_search::run::{Began, Scenario, Write};
use transfer_search::search::exhaust;
use transfer_search::world::{Etags, Removed};

const BASE: Scenario = Scenario {
    name: "",
    began: Began::LiveTransfer,
    mode: Overwrite::Always,
    policy: Policy::Full,
    has_replica: false,
    writes: Vec::new(),
    workers: 2,
    crashes: 0,
    duplicates: 0,
    sweeps: 0,
    pauses: 0,
    unanswered: 0,
    etags: Etags::Digests,
    removed: Removed::Nothing,
};

#[test]
fn probe() {
    for scenario in [
        Scenario { name: "plain", ..BASE },
        Scenario { name: "live plain", began: Began::Live, ..BASE },
        Scenario { name: "put", writes: vec![Write::Put("y-2")], ..BASE },
        Scenario { name: "delete", writes: vec![Write::Delete], ..BASE },
        Scenario { name: "crash", crashes: 1, ..BASE },
        Scenario { name: "dup", duplicates: 1, ..BASE },
        Scenario { name: "delete crash", writes: vec![Write::Delete], crashes: 1, ..BASE },
        Scenario { name: "delete crash dup", writes: vec![Write::Delete], crashes: 1, duplicates: 1, ..BASE },
    ] {
        let started = std::time::Instant::now();
        match exhaust(&scenario, 2_000_000) {
            Ok(covered) => println!("{}: {covered:?} {:?}", scenario.name, started.elapsed()),
            Err(violation) => println!("{}: {violation:?} {:?}", scenario.name, started.elapsed()),
        }
    }
}
