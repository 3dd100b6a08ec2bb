//! Those who wait for events: each gets those of its own function, however many others wait.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast::{self, Receiver, Sender};

use corefn_core::event::Event;
use corefn_core::function::FunctionName;

/// How many events of its function a waiting start may fall behind before it looks for itself.
const BACKLOG: usize = 4;

/// Who listens, by function.
#[derive(Debug, Default)]
pub(super) struct Subscribers(Mutex<HashMap<FunctionName, Sender<Event>>>);

impl Subscribers {
    /// What happens to a function from now on.
    pub fn subscribe(&self, function: &FunctionName) -> Receiver<Event> {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = listeners
            .entry(function.clone())
            .or_insert_with(|| broadcast::channel(BACKLOG).0);
        sender.subscribe()
    }

    /// Tells those who wait for the event's function.
    pub fn publish(&self, event: Event) {
        let function = match &event {
            Event::Ready { instance, .. } => &instance.function,
            Event::Deployed { deployment } => &deployment.function,
            Event::Failed { function, .. }
            | Event::Removed { function }
            | Event::Turn { function, .. } => function,
            Event::Gone { .. } => return,
        };
        let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = listeners.get(function) {
            // No receiver means that nobody waits any more.
            let _ = sender.send(event);
        }
    }

    /// Forgets a function for which nobody waits any more.
    pub fn tidy(&self, function: &FunctionName) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if listeners
            .get(function)
            .is_some_and(|sender| sender.receiver_count() == 0)
        {
            listeners.remove(function);
        }
    }
}
