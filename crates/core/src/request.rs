//! The states of a request on its way to an instance, and what it holds in each.
//!
//! What it holds belongs to the state: so whoever leaves a state gives back what was held there, whichever way it goes.

use crate::error::ErrorCode;

/// Where a request is. `W` is what it holds while it waits, `G` what it holds of an instance.
#[derive(Debug, Default)]
pub enum State<W, G> {
    /// Nothing is decided, or must be decided anew.
    #[default]
    Open,
    /// It waits.
    Waiting(W),
    /// It has an instance.
    Granted(G),
    /// An attempt to send it to its instance has failed, and another is to be made.
    Lost(G),
    /// It gets an error.
    Failed(ErrorCode),
}

/// Where a request is, without what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// As of [`State::Open`].
    Open,
    /// As of [`State::Waiting`].
    Waiting,
    /// As of [`State::Granted`].
    Granted,
    /// As of [`State::Lost`].
    Lost,
    /// As of [`State::Failed`].
    Failed(ErrorCode),
}

/// What a request held, and holds no longer.
#[derive(Debug)]
#[must_use = "what was held is given back by dropping it, outside of the state's own borrow"]
pub enum Released<W, G> {
    /// Nothing.
    Nothing,
    /// Its place among those who wait.
    Wait(W),
    /// Its instance.
    Grant(G),
}

impl<W, G> State<W, G> {
    /// Where it is.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Open => Stage::Open,
            Self::Waiting(_) => Stage::Waiting,
            Self::Granted(_) => Stage::Granted,
            Self::Lost(_) => Stage::Lost,
            Self::Failed(code) => Stage::Failed(*code),
        }
    }

    /// What it holds of an instance, also of one that it lost.
    pub fn grant(&self) -> Option<&G> {
        match self {
            Self::Granted(grant) | Self::Lost(grant) => Some(grant),
            Self::Open | Self::Waiting(_) | Self::Failed(_) => None,
        }
    }

    /// It waits from now on.
    pub fn on_wait(&mut self, wait: W) -> Released<W, G> {
        self.go_to(Self::Waiting(wait))
    }

    /// It has an instance from now on.
    pub fn on_grant(&mut self, grant: G) -> Released<W, G> {
        self.go_to(Self::Granted(grant))
    }

    /// It gets an error.
    pub fn on_failure(&mut self, code: ErrorCode) -> Released<W, G> {
        self.go_to(Self::Failed(code))
    }

    /// It begins anew.
    pub fn on_reset(&mut self) -> Released<W, G> {
        self.go_to(Self::Open)
    }

    /// The attempt to send it to its instance has failed. It holds the instance until it is decided what comes next, so
    /// that logs can name it.
    pub fn on_loss(&mut self) {
        *self = match std::mem::take(self) {
            Self::Granted(grant) => Self::Lost(grant),
            other => other,
        };
    }

    /// If it waits, it no longer does: it is open.
    pub fn end_wait(&mut self) -> Option<W> {
        match self {
            Self::Waiting(_) => match self.on_reset() {
                Released::Wait(wait) => Some(wait),
                Released::Nothing | Released::Grant(_) => None,
            },
            _ => None,
        }
    }

    /// If it has an instance, it no longer does: it is open.
    pub fn end_grant(&mut self) -> Option<G> {
        match self {
            Self::Granted(_) | Self::Lost(_) => match self.on_reset() {
                Released::Grant(grant) => Some(grant),
                Released::Nothing | Released::Wait(_) => None,
            },
            _ => None,
        }
    }

    fn go_to(&mut self, next: Self) -> Released<W, G> {
        match std::mem::replace(self, next) {
            Self::Open | Self::Failed(_) => Released::Nothing,
            Self::Waiting(wait) => Released::Wait(wait),
            Self::Granted(grant) | Self::Lost(grant) => Released::Grant(grant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::rc::Rc;

    /// Something that is counted for as long as it is held.
    #[derive(Debug)]
    struct Held(Rc<Cell<i32>>);

    impl Held {
        fn new(count: &Rc<Cell<i32>>) -> Self {
            count.set(count.get() + 1);
            Self(count.clone())
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Wait,
        Grant,
        Loss,
        Failure,
        EndWait,
        EndGrant,
        Reset,
    }

    const EVENTS: [Event; 7] = [
        Event::Wait,
        Event::Grant,
        Event::Loss,
        Event::Failure,
        Event::EndWait,
        Event::EndGrant,
        Event::Reset,
    ];

    #[test]
    fn a_request_that_waits_is_granted_and_lost() {
        let mut state = State::default();
        assert_eq!(state.stage(), Stage::Open);
        assert!(matches!(state.on_wait("ticket"), Released::Nothing));
        assert_eq!(state.end_grant(), None);
        assert_eq!(state.stage(), Stage::Waiting);
        assert_eq!(state.end_wait(), Some("ticket"));
        assert_eq!(state.stage(), Stage::Open);
        assert_eq!(state.end_wait(), None);
        assert!(matches!(state.on_grant("instance"), Released::Nothing));
        assert_eq!(
            (state.stage(), state.grant()),
            (Stage::Granted, Some(&"instance"))
        );
        state.on_loss();
        assert_eq!(
            (state.stage(), state.grant()),
            (Stage::Lost, Some(&"instance"))
        );
        state.on_loss();
        assert!(matches!(
            state.on_grant("other"),
            Released::Grant("instance")
        ));
        let failed = state.on_failure(ErrorCode::Internal);
        assert!(matches!(failed, Released::Grant("other")));
        assert_eq!(state.stage(), Stage::Failed(ErrorCode::Internal));
        assert_eq!(state.grant(), None);
    }

    #[test]
    fn what_has_ended_is_open() {
        for is_lost in [false, true] {
            let mut state: State<(), _> = State::Granted("instance");
            if is_lost {
                state.on_loss();
            }
            assert_eq!(state.end_grant(), Some("instance"));
            assert_eq!(state.stage(), Stage::Open);
            assert_eq!(state.end_grant(), None);
        }
    }

    #[test]
    fn only_an_instance_can_be_lost() {
        for code in [None, Some(ErrorCode::Internal)] {
            let mut state: State<(), ()> = State::default();
            if let Some(code) = code {
                let _ = state.on_failure(code);
            }
            let before = state.stage();
            state.on_loss();
            assert_eq!(state.stage(), before);
        }
        let mut state: State<i32, ()> = State::Waiting(1);
        state.on_loss();
        assert_eq!(state.end_wait(), Some(1));
    }

    proptest! {
        /// No order of events leaks a place or an instance, or keeps both: what the state holds is what is held.
        #[test]
        fn nothing_leaks(events in prop::collection::vec(prop::sample::select(&EVENTS[..]), 0..40)) {
            let (waits, grants) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let mut state = State::default();
            for event in events {
                match event {
                    Event::Wait => drop(state.on_wait(Held::new(&waits))),
                    Event::Grant => drop(state.on_grant(Held::new(&grants))),
                    Event::Loss => state.on_loss(),
                    Event::Failure => drop(state.on_failure(ErrorCode::Internal)),
                    Event::EndWait => drop(state.end_wait()),
                    Event::EndGrant => drop(state.end_grant()),
                    Event::Reset => drop(state.on_reset()),
                }
                let held = match state.stage() {
                    Stage::Waiting => (1, 0),
                    Stage::Granted | Stage::Lost => (0, 1),
                    Stage::Open | Stage::Failed(_) => (0, 0),
                };
                prop_assert_eq!((waits.get(), grants.get()), held, "after {:?}", event);
            }
        }
    }
}
