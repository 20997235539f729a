//! Tokens by which the functions recognise a repeated request. Uses random numbers.

/// Returns a new token. If a connection breaks, AWS's client sends the invocation again, although the function may have
/// done its work. The token shows the function that this is the same request.
pub fn new() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}
