//! The code that the demo shares with the acceptance run: buckets and objects, awkward keys, the real `tandem` command,
//! and the output. The demo itself is the binary.

pub mod awkward;
pub mod cloud;
pub mod console;
pub mod endpoint;
pub mod error;
pub mod interrupt;
pub mod lag;
pub mod object;
pub mod tandem_command;
