//! Who waits for an instance of which function, and for the answer to which question.

use std::collections::HashMap;

use crate::function::FunctionName;

/// Those who wait, each by the number of its ticket.
///
/// An instance is asked for once for all who wait for a function, under a number that the answer
/// carries. Who joins after the queue was left has it asked for anew, so that an answer never
/// reaches anyone but those it was asked for.
#[derive(Debug, Default)]
pub struct Queues {
    queues: HashMap<FunctionName, Queue>,
    last: u64,
}

#[derive(Debug)]
struct Queue {
    number: u64,
    tickets: Vec<u64>,
}

impl Queues {
    /// Adds a ticket to a function's queue. Returns the number under which an instance must be
    /// asked for, unless one has been for those who wait already.
    ///
    /// Those who have left, of which `waits` is false, are taken out when the queue would grow, so
    /// that it is never much longer than most waited at once.
    pub fn join(
        &mut self,
        function: &FunctionName,
        ticket: u64,
        waits: impl Fn(u64) -> bool,
    ) -> Option<u64> {
        if let Some(queue) = self.queues.get_mut(function) {
            push(&mut queue.tickets, ticket, waits);
            return None;
        }
        self.last += 1;
        let queue = Queue {
            number: self.last,
            tickets: vec![ticket],
        };
        self.queues.insert(function.clone(), queue);
        Some(self.last)
    }

    /// Empties a function's queue if its question has this number: returns those whom the answer is
    /// for.
    pub fn answered(&mut self, function: &FunctionName, number: u64) -> Vec<u64> {
        match self.queues.get(function) {
            Some(queue) if queue.number == number => self.leave(function),
            _ => Vec::new(),
        }
    }

    /// Empties a function's queue, whatever was asked for.
    pub fn leave(&mut self, function: &FunctionName) -> Vec<u64> {
        let queue = self.queues.remove(function);
        queue.map(|queue| queue.tickets).unwrap_or_default()
    }

    /// Empties all queues.
    pub fn leave_all(&mut self) -> Vec<u64> {
        let queues = self.queues.drain();
        queues.flat_map(|(_, queue)| queue.tickets).collect()
    }

    /// The functions that are waited for.
    pub fn functions(&self) -> impl Iterator<Item = &FunctionName> {
        self.queues.keys()
    }
}

/// Adds a ticket to a queue. When it would grow, those of which `waits` is false are taken out.
pub fn push(queue: &mut Vec<u64>, ticket: u64, waits: impl Fn(u64) -> bool) {
    if queue.len() == queue.capacity() {
        queue.retain(|ticket| waits(*ticket));
        queue.reserve(queue.len().max(8));
    }
    queue.push(ticket);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FunctionName {
        text.parse().unwrap()
    }

    #[test]
    fn one_question_for_all_who_wait() {
        let (mut queues, a, b) = (Queues::default(), name("x/a"), name("x/b"));
        let first = queues.join(&a, 1, |_| true).unwrap();
        assert_eq!(queues.join(&a, 2, |_| true), None);
        let other = queues.join(&b, 3, |_| true).unwrap();
        assert_ne!(first, other);
        let mut waited_for: Vec<_> = queues.functions().collect();
        waited_for.sort();
        assert_eq!(waited_for, [&a, &b]);
        assert_eq!(queues.answered(&a, first), [1, 2]);
        assert_eq!(queues.answered(&a, first), [0; 0], "once");
        assert_eq!(queues.answered(&b, other), [3]);
    }

    #[test]
    fn answers_are_for_those_who_asked() {
        let (mut queues, a) = (Queues::default(), name("x/a"));
        let first = queues.join(&a, 1, |_| true).unwrap();
        assert_eq!(queues.leave(&a), [1]);
        let second = queues.join(&a, 2, |_| true).unwrap();
        assert_eq!(queues.answered(&a, first), [0; 0], "an answer that is late");
        assert_eq!(queues.answered(&a, second), [2]);
        let third = queues.join(&a, 3, |_| true).unwrap();
        assert_eq!(queues.leave_all(), [3]);
        assert_eq!(queues.answered(&a, third), [0; 0]);
        assert_eq!(queues.functions().count(), 0);
    }

    #[test]
    fn nobody_is_looked_for_while_there_is_room() {
        let mut queue = Vec::with_capacity(2);
        push(&mut queue, 1, |_| false);
        push(&mut queue, 2, |_| panic!("there was room"));
        assert_eq!(queue, [1, 2]);
    }

    #[test]
    fn those_who_left_take_no_room() {
        let (mut queues, a) = (Queues::default(), name("x/a"));
        let number = queues.join(&a, 0, |_| false).unwrap();
        for ticket in 1..10_000 {
            queues.join(&a, ticket, |other| other + 2 > ticket);
        }
        let left = queues.answered(&a, number);
        assert!(left.len() < 32 && left.ends_with(&[9_999]), "{left:?}");
    }
}
