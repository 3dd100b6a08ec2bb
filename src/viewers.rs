//! Those who look at what there is, and what was found for them.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use corefn_core::error::ErrorCode;
use corefn_core::feed::Feed;
use corefn_core::survey::Survey;

use crate::ngx::Parts;

/// How long a survey takes at the longest, and somebody who wants one waits for it.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Somebody who looks.
pub trait Viewer {
    /// What was asked for by a number is there, or why it can't be had. The request may be gone when this returns.
    fn on_answer(&self, number: u64, answer: &Result<Option<String>, ErrorCode>);
}

/// What somebody wants to see.
pub enum Wish {
    /// What the runtime thread is asked for by a number.
    Answer {
        /// The number.
        number: u64,
        /// Its media type.
        kind: &'static str,
    },
    /// What there is, and from then on what changes.
    Feed {
        /// What was told.
        feed: Box<Feed>,
        /// When it began.
        since: u64,
        /// When something was last sent; nothing if there is no header yet.
        sent: Option<u64>,
    },
}

/// A request of somebody who looks.
pub struct Viewing {
    /// What is wanted.
    pub wish: RefCell<Wish>,
    /// What is sent for it.
    pub parts: Parts,
}

impl Viewing {
    /// Somebody begins to look.
    pub fn new(wish: Wish) -> Self {
        Self {
            wish: RefCell::new(wish),
            parts: Parts::default(),
        }
    }
}

/// How many pages may look at a worker at the same time, and how many may ask it for something.
const MOST: usize = 64;

/// Those who look at a worker.
#[derive(Default)]
pub struct Viewers {
    pages: RefCell<Vec<Weak<dyn Viewer>>>,
    askers: RefCell<Vec<Weak<dyn Viewer>>>,
    survey: RefCell<Rc<Survey>>,
    /// Since when a survey is under way.
    asked: Cell<Option<u64>>,
    next: Cell<u64>,
}

impl Viewers {
    /// A page begins to look, or somebody asks for something; false if too many do.
    pub fn join(&self, viewer: Weak<dyn Viewer>, is_page: bool) -> bool {
        let all = if is_page { &self.pages } else { &self.askers };
        let mut all = all.borrow_mut();
        all.retain(|viewer| viewer.strong_count() > 0);
        if all.len() >= MOST {
            return false;
        }
        all.push(viewer);
        true
    }

    /// A number for somebody who asks the runtime thread.
    pub fn draw(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    /// Whether a survey is to be asked for at `now`: one is, from then on. (One that takes too long does not come any more.)
    pub fn should_ask(&self, now: u64) -> bool {
        let asked = self.asked.get();
        let should = asked.is_none_or(|asked| now > asked + PATIENCE.as_millis() as u64);
        if should {
            self.asked.set(Some(now));
        }
        should
    }

    /// The last survey.
    pub fn survey(&self) -> Rc<Survey> {
        self.survey.borrow().clone()
    }

    /// There is a new one.
    pub fn on_survey(&self, survey: Survey) {
        self.asked.set(None);
        self.survey.replace(Rc::new(survey));
    }

    /// What was asked for by a number is there, or why it can't be had.
    pub fn on_answer(&self, number: u64, answer: &Result<Option<String>, ErrorCode>) {
        // (Whoever is told may end, and others may begin.)
        let all: Vec<_> = self.askers.borrow().clone();
        for viewer in all.iter().filter_map(Weak::upgrade) {
            viewer.on_answer(number, answer);
        }
    }
}
