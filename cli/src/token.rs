//! Tokens by which the functions recognise a request that is sent again. Chance.

/// A new token. AWS's client sends an invocation again if its connection breaks, though the function may have done all
/// that it was asked by then: the token tells it that this is the same request.
pub fn new() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}
