//! Limits how much is sent at once: less when the service asks to slow down, more again while it does not. No I/O.
//!
//! Additive increase, multiplicative decrease, as in TCP's congestion control (RFC 5681): senders that do not know of
//! each other end up sharing the capacity.

/// A window that limits how much work is under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    max: usize,
    /// How much may be under way.
    width: f64,
    under_way: usize,
    /// How much of the work that was under way when the window was last narrowed still is. It was sent at the old
    /// width, so if it is throttled, that says nothing about the new width.
    from_before: usize,
}

impl Window {
    /// Creates a window of the maximum width `max`, or of width 1 if `max` is 0.
    pub fn new(max: usize) -> Self {
        let max = max.max(1);
        Self {
            max,
            width: max as f64,
            under_way: 0,
            from_before: 0,
        }
    }

    /// Returns how much may be under way at once, at least one.
    pub fn width(&self) -> usize {
        // At most `max`, which was a usize.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and max"
        )]
        let width = self.width as usize;
        width.clamp(1, self.max)
    }

    /// Begins a piece of work if the window allows it. Returns whether it did.
    pub fn begin(&mut self) -> bool {
        let allowed = self.under_way < self.width();
        self.under_way += usize::from(allowed);
        allowed
    }

    /// Ends a piece of work. After as many as the window is wide, it is wider by one.
    pub fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        if self.from_before > 0 {
            self.from_before -= 1;
        } else {
            self.width = (self.width + 1.0 / self.width).min(self.max as f64);
        }
    }

    /// Halves the window, because the service has asked to slow down.
    pub fn throttled(&mut self) {
        if self.from_before == 0 {
            self.width = (self.width / 2.0).max(1.0);
            self.from_before = self.under_way;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Promise: A function that is asked to slow down halves the number of its concurrent requests, and nothing
    // fails by that.
    #[test]
    fn one_burst_of_throttling_halves_the_window_once() {
        let mut window = Window::new(32);
        while window.begin() {}
        for _ in 0..32 {
            window.throttled();
        }
        assert_eq!(window.width(), 16);
        for _ in 0..32 {
            window.end();
        }
        assert_eq!(window.width(), 16);
        window.throttled();
        assert_eq!(window.width(), 8);
    }

    #[test]
    fn a_window_widens_by_one_a_round_and_never_beyond_its_maximum() {
        let mut window = Window::new(8);
        window.throttled();
        assert_eq!(window.width(), 4);
        let mut rounds = 0;
        while window.width() < 8 {
            let width = window.width();
            for _ in 0..=width {
                assert!(window.begin());
                window.end();
            }
            rounds += 1;
        }
        assert_eq!(rounds, 4);
        for _ in 0..100 {
            window.begin();
            window.end();
        }
        assert_eq!(window.width(), 8);
    }

    proptest! {
        #[test]
        fn a_window_always_allows_one_and_never_more_than_the_maximum(
            max in 0_usize..40,
            steps in proptest::collection::vec(0_u8..3, 0..300),
        ) {
            let mut window = Window::new(max);
            let mut under_way = 0;
            for step in steps {
                match step {
                    0 => under_way += usize::from(window.begin()),
                    1 if under_way > 0 => {
                        window.end();
                        under_way -= 1;
                    }
                    _ => window.throttled(),
                }
                prop_assert!(under_way <= max.max(1));
                prop_assert!((1..=max.max(1)).contains(&window.width()));
                prop_assert!(under_way > 0 || window.clone().begin());
            }
        }
    }
}
