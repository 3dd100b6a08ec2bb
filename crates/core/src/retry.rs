//! Whether a request whose attempt failed is sent again, and where.
//!
//! A request may be sent again if the function can't have seen it, or if seeing it twice does no harm. That makes one
//! attempt more ([`ATTEMPTS`]); what certainly reached nobody is not counted.

use crate::error::ErrorCode;

/// How often a request is sent to an instance, at most.
pub const ATTEMPTS: usize = 2;

/// How an attempt ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The time was over.
    TimedOut,
    /// The other side closed the connection in order.
    Closed,
    /// The other side, or something between, reset it.
    Reset,
    /// Neither: what came was no answer, or none that is taken.
    BadAnswer,
}

/// An attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// How it ended. One whose connection was never made, since it was refused, ended by [`Ending::Reset`].
    pub ending: Ending,
    /// Whether anything of the request was sent.
    pub sent: bool,
    /// Whether not one byte of the request can have reached the function, whatever was sent.
    pub unseen: bool,
    /// Whether the connection was a kept-alive one.
    pub reused: bool,
    /// Whether the attempt before has failed at the same instance, which has passed a health check in between.
    pub same_instance: bool,
}

/// How the connection of an attempt that failed has ended, as its system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// How many bytes were sent.
    pub sent: i64,
    /// How many of them the other side's system has not acknowledged, if that is known.
    pub outstanding: Option<i64>,
    /// The time was over.
    pub timed_out: bool,
    /// The other side has closed it.
    pub ended: bool,
    /// It is broken, such as one that was reset.
    pub broken: bool,
}

impl Connection {
    /// How the attempt ended, of which something was `sent` or not.
    pub fn ending(&self, sent: bool) -> Ending {
        if self.timed_out {
            Ending::TimedOut
        } else if self.ended {
            Ending::Closed
        } else if sent && !self.broken {
            Ending::BadAnswer
        } else {
            Ending::Reset
        }
    }

    /// Whether not one byte of the request can have reached the function.
    ///
    /// What closes a connection in order says how much has reached its system by then. What resets
    /// it says nothing: the function may have read what was not acknowledged yet.
    pub fn is_unseen(&self) -> bool {
        let all_outstanding = self.outstanding.is_some_and(|bytes| bytes >= self.sent);
        self.sent == 0 || (self.ended && !self.broken && all_outstanding)
    }
}

/// The request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Whether it may be seen twice: its method is idempotent (RFC 9110, 9.2.2), and its body can be sent again.
    pub repeatable: bool,
    /// Whether an attempt has been left uncounted already.
    pub forgiven: bool,
}

/// What becomes of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It ends with the error.
    End,
    /// What the operator has said of such answers decides; the attempt counts.
    AsConfigured,
    /// It is sent to the same instance on a new connection; the attempt doesn't count.
    NewConnection,
    /// It is sent to another instance, or to this one once that has passed a health check.
    Elsewhere {
        /// Whether the attempt counts.
        counts: bool,
    },
}

/// What a failed attempt means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The error, should the request end with it.
    pub code: ErrorCode,
    /// What becomes of the request.
    pub next: Next,
    /// Whether it is to be looked whether the instance is still there.
    pub needs_check: bool,
}

/// Decides what an attempt that failed means.
pub fn decide(attempt: Attempt, request: Request) -> Decision {
    let code = match (attempt.sent, attempt.ending) {
        (false, _) => ErrorCode::FunctionUnreachable,
        (true, Ending::TimedOut) => ErrorCode::FunctionTimeout,
        (true, Ending::Closed | Ending::Reset) => ErrorCode::FunctionDied,
        (true, Ending::BadAnswer) => ErrorCode::BadAnswer,
    };
    let may_go_again = match code {
        ErrorCode::FunctionUnreachable => true,
        ErrorCode::FunctionDied => request.repeatable || attempt.unseen,
        _ => false,
    };
    let next = if code == ErrorCode::BadAnswer {
        Next::AsConfigured
    } else if !may_go_again {
        Next::End
    } else if attempt.reused {
        // It was closed before, as such connections are.
        Next::NewConnection
    } else {
        // An instance that is dying may pass a health check, since its system takes connections to the last. What that
        // refuses or resets then has reached nobody. Once: the instance may be alive and do that itself.
        let reached_nobody = match attempt.ending {
            Ending::Reset => true,
            Ending::TimedOut => false,
            Ending::Closed | Ending::BadAnswer => !attempt.sent,
        };
        let is_forgiven = attempt.same_instance && reached_nobody && !request.forgiven;
        Next::Elsewhere {
            counts: !is_forgiven,
        }
    };
    Decision {
        code,
        next,
        needs_check: !matches!(code, ErrorCode::FunctionTimeout | ErrorCode::BadAnswer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SENT: Attempt = Attempt {
        ending: Ending::Closed,
        sent: true,
        unseen: false,
        reused: false,
        same_instance: false,
    };
    const GET: Request = Request {
        repeatable: true,
        forgiven: false,
    };
    const POST: Request = Request {
        repeatable: false,
        forgiven: false,
    };

    fn next(attempt: Attempt, request: Request) -> Next {
        decide(attempt, request).next
    }

    #[test]
    fn errors() {
        for (ending, sent, code, needs_check) in [
            (Ending::Closed, true, ErrorCode::FunctionDied, true),
            (Ending::Reset, true, ErrorCode::FunctionDied, true),
            (Ending::TimedOut, true, ErrorCode::FunctionTimeout, false),
            (Ending::BadAnswer, true, ErrorCode::BadAnswer, false),
            (Ending::Reset, false, ErrorCode::FunctionUnreachable, true),
            (
                Ending::TimedOut,
                false,
                ErrorCode::FunctionUnreachable,
                true,
            ),
        ] {
            let attempt = Attempt {
                ending,
                sent,
                ..SENT
            };
            let decision = decide(attempt, GET);
            assert_eq!((decision.code, decision.needs_check), (code, needs_check));
        }
    }

    #[test]
    fn what_may_be_seen_twice_goes_elsewhere() {
        let counted = Next::Elsewhere { counts: true };
        assert_eq!(next(SENT, GET), counted);
        assert_eq!(next(SENT, POST), Next::End);
        let unseen = Attempt {
            unseen: true,
            ..SENT
        };
        assert_eq!(next(unseen, POST), counted);
        let refused = Attempt {
            ending: Ending::Reset,
            sent: false,
            ..SENT
        };
        assert_eq!(next(refused, POST), counted);
    }

    #[test]
    fn kept_alive_connections_are_no_attempt() {
        let reused = Attempt {
            reused: true,
            ..SENT
        };
        assert_eq!(next(reused, GET), Next::NewConnection);
        assert_eq!(next(reused, POST), Next::End);
    }

    #[test]
    fn too_much_trust_is_forgiven_once() {
        let free = Next::Elsewhere { counts: false };
        let counted = Next::Elsewhere { counts: true };
        let forgiven = Request {
            forgiven: true,
            ..GET
        };
        for (ending, sent, want) in [
            (Ending::Reset, true, free),
            (Ending::Reset, false, free),
            (Ending::BadAnswer, false, free),
            // It has accepted the request, or may have.
            (Ending::Closed, true, counted),
            (Ending::TimedOut, false, counted),
        ] {
            let again = Attempt {
                ending,
                sent,
                same_instance: true,
                ..SENT
            };
            assert_eq!(next(again, GET), want, "{again:?}");
            assert_eq!(next(again, forgiven), counted, "{again:?}");
            let first = Attempt {
                same_instance: false,
                ..again
            };
            assert_eq!(next(first, GET), counted, "{first:?}");
        }
    }

    const CLOSED: Connection = Connection {
        sent: 10,
        outstanding: Some(0),
        timed_out: false,
        ended: true,
        broken: false,
    };

    #[test]
    fn endings() {
        let broken = Connection {
            ended: false,
            broken: true,
            ..CLOSED
        };
        let open = Connection {
            ended: false,
            ..CLOSED
        };
        let timed_out = Connection {
            timed_out: true,
            ..open
        };
        for (connection, sent, want) in [
            (CLOSED, true, Ending::Closed),
            (CLOSED, false, Ending::Closed),
            (broken, true, Ending::Reset),
            (broken, false, Ending::Reset),
            (open, true, Ending::BadAnswer),
            (open, false, Ending::Reset),
            (timed_out, true, Ending::TimedOut),
            (timed_out, false, Ending::TimedOut),
        ] {
            assert_eq!(connection.ending(sent), want, "{connection:?} {sent}");
        }
    }

    #[test]
    fn what_was_not_acknowledged_is_unseen() {
        assert!(!CLOSED.is_unseen());
        let with = |outstanding| Connection {
            outstanding,
            ..CLOSED
        };
        assert!(with(Some(10)).is_unseen());
        // The end of the connection counts as a byte that is not acknowledged.
        assert!(with(Some(11)).is_unseen());
        assert!(!with(Some(9)).is_unseen());
        assert!(!with(None).is_unseen());
        // What was reset may have been read before.
        let reset = Connection {
            broken: true,
            ..with(Some(10))
        };
        assert!(!reset.is_unseen());
        let open = Connection {
            ended: false,
            ..with(Some(10))
        };
        assert!(!open.is_unseen());
        // Nothing was sent.
        assert!(Connection { sent: 0, ..reset }.is_unseen());
        assert!(
            Connection {
                sent: 0,
                outstanding: None,
                ..open
            }
            .is_unseen()
        );
    }

    fn any_attempt() -> impl Strategy<Value = Attempt> {
        let ending = prop_oneof![
            Just(Ending::TimedOut),
            Just(Ending::Closed),
            Just(Ending::Reset),
            Just(Ending::BadAnswer),
        ];
        (ending, any::<[bool; 4]>()).prop_map(|(ending, [sent, unseen, reused, same_instance])| {
            Attempt {
                ending,
                sent,
                unseen,
                reused,
                same_instance,
            }
        })
    }

    proptest! {
        /// Nobody gets twice what may have been seen and must not be seen twice.
        #[test]
        fn nothing_is_done_twice(attempt in any_attempt(), forgiven: bool) {
            let request = Request { repeatable: false, forgiven };
            let may_have_been_seen = attempt.sent && !attempt.unseen;
            if may_have_been_seen && attempt.ending != Ending::BadAnswer {
                prop_assert_eq!(next(attempt, request), Next::End);
            }
        }

        /// A request that goes on and on ends: what isn't counted is new connections, of which each follows a
        /// kept-alive one, and one attempt that is forgiven.
        #[test]
        fn every_request_ends(attempts in prop::collection::vec(any_attempt(), 32), repeatable: bool) {
            let mut request = Request { repeatable, forgiven: false };
            let (mut counted, mut made) = (0, 0);
            let mut must_be_new = false;
            for attempt in attempts {
                if counted == ATTEMPTS {
                    break;
                }
                made += 1;
                let attempt = Attempt { reused: attempt.reused && !must_be_new, ..attempt };
                match next(attempt, request) {
                    Next::End => break,
                    Next::AsConfigured => counted += 1,
                    Next::NewConnection => must_be_new = true,
                    Next::Elsewhere { counts } => {
                        counted += usize::from(counts);
                        request.forgiven |= !counts;
                    }
                }
            }
            prop_assert!(made <= ATTEMPTS + 2, "{}", made);
        }
    }
}
