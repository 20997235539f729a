//! How much is sent at once: less when the service asks to slow down, more again while it does not. No I/O.
//!
//! Additive increase, multiplicative decrease, as in TCP's congestion control (RFC 5681): senders that do not
//! know of each other come to share what there is.

/// A window on a stream of work.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    max: usize,
    /// How much may be under way.
    width: f64,
    under_way: usize,
    /// Of what was under way when the window was last narrowed, how much still is: it was sent at the old
    /// width, so its being throttled says nothing about the new one.
    from_before: usize,
}

impl Window {
    /// A window that is open as far as it ever is; `max` counts from one.
    pub fn new(max: usize) -> Self {
        let max = max.max(1);
        Self {
            max,
            width: max as f64,
            under_way: 0,
            from_before: 0,
        }
    }

    /// How much may be under way at once, at least one.
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

    /// Begins a piece of work if there is room for it.
    pub fn begin(&mut self) -> bool {
        let room = self.under_way < self.width();
        self.under_way += usize::from(room);
        room
    }

    /// Ends a piece of work. A whole window's worth of them widens it by one.
    pub fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        if self.from_before > 0 {
            self.from_before -= 1;
        } else {
            self.width = (self.width + 1.0 / self.width).min(self.max as f64);
        }
    }

    /// The service has asked to slow down: half as much from now on.
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
    fn one_burst_of_throttling_halves_once() {
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
    fn it_opens_again_by_one_a_round_and_never_beyond_its_maximum() {
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
        fn there_is_always_room_for_one_and_never_for_more_than_the_maximum(
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
