//! The invocations that wait, a queue a function.

use corefn_core::function::FunctionName;
use corefn_core::invocation::{InvocationId, KNOWN, Next, State, Tried};

use super::facts::field;
use super::{Store, StoreError, json, read};

/// An invocation that was taken out of a queue, to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Where it is in the queue.
    pub place: String,
    /// Which one.
    pub id: InvocationId,
    /// What came of its calls, if there were any.
    pub tried: Option<Tried>,
}

impl Store {
    /// What complete queues of a spool are of, and whether the queues are. It is the spool's name, this run of Redis, and its
    /// time as the master: one that was emptied has no queues, and one that comes back as it was before, or takes over from
    /// another, may lack what came last.
    ///
    /// # Errors
    /// [`StoreError`], as everything below.
    pub async fn queues_of(&self, spool: &str) -> Result<(String, bool), StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(self.keys.spool());
        pipeline.cmd("INFO").arg("server");
        pipeline.cmd("INFO").arg("replication");
        let (found, server, replication): (Option<String>, String, String) =
            self.pipeline(&pipeline).await?;
        let run = field(&server, "run_id").unwrap_or_default();
        let reign = field(&replication, "master_replid").unwrap_or_default();
        let all = format!("{spool} {run} {reign}");
        let is_complete = found.as_ref() == Some(&all);
        Ok((all, is_complete))
    }

    /// The queues are being filled from now on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin_queues(&self) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        self.command(command.arg(self.keys.spool()).arg("")).await
    }

    /// The queues are those of this, as [`Store::queues_of`] has told it. Not if Redis was emptied since they were begun: then it
    /// returns that they are not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn complete_queues(&self, of: &str) -> Result<bool, StoreError> {
        let mut command = redis::cmd("SET");
        command.arg(self.keys.spool()).arg(of).arg("XX");
        let answer: Option<String> = self.command(&command).await?;
        Ok(answer.is_some())
    }

    /// Adds invocations to the end of their function's queue.
    ///
    /// # Errors
    /// [`StoreError`]. Then they may be there nevertheless.
    pub async fn enqueue(
        &self,
        function: &FunctionName,
        invocations: &[InvocationId],
    ) -> Result<(), StoreError> {
        let mut script = self.scripts.enqueue.prepare_invoke();
        script
            .key(self.keys.queues())
            .key(self.keys.queue(function))
            .arg(function.as_str());
        for invocation in invocations {
            script.arg(invocation.to_string());
        }
        self.invoke(&script).await
    }

    /// The functions whose invocations wait.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn queues(&self) -> Result<Vec<FunctionName>, StoreError> {
        let key = self.keys.queues();
        let names: Vec<String> = self.command(redis::cmd("SMEMBERS").arg(&key)).await?;
        // (What is no name is not one of ours.)
        let names = names.iter().filter_map(|name| name.parse().ok());
        Ok(names.collect())
    }

    /// Takes up to so many invocations of a function that are to be called at `now`, in seconds since 1970, in their order. They
    /// stay in the queue until they are settled.
    ///
    /// # Errors
    /// [`StoreError`]. Then some may have been taken, which only [`Store::taken`] tells.
    pub async fn take_invocations(
        &self,
        function: &FunctionName,
        now: i64,
        count: usize,
    ) -> Result<Vec<Taken>, StoreError> {
        self.take_from(function, now, count, ">").await
    }

    /// Up to so many invocations that have been taken before and are not settled, in their order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn taken(
        &self,
        function: &FunctionName,
        count: usize,
    ) -> Result<Vec<Taken>, StoreError> {
        self.take_from(function, 0, count, "0").await
    }

    async fn take_from(
        &self,
        function: &FunctionName,
        now: i64,
        count: usize,
        from: &str,
    ) -> Result<Vec<Taken>, StoreError> {
        let key = self.keys.queue(function);
        let mut script = self.scripts.take_invocations.prepare_invoke();
        script
            .key(&key)
            .key(self.keys.later(function))
            .key(self.keys.tried())
            .arg(now)
            .arg(count)
            .arg(from)
            .arg(function.as_str());
        let taken: Vec<(String, String, String)> = self.invoke(&script).await?;
        let taken = taken.into_iter().map(|(place, id, tried)| {
            Ok(Taken {
                place,
                id: read(&key, &format!("{id:?}"))?,
                tried: match tried.is_empty() {
                    true => None,
                    false => Some(read(&self.keys.tried(), &tried)?),
                },
            })
        });
        taken.collect()
    }

    /// An invocation that was taken has been called, and this becomes of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn settle(
        &self,
        function: &FunctionName,
        taken: &Taken,
        tried: &Tried,
        next: Next,
    ) -> Result<(), StoreError> {
        let (how, number) = match next {
            Next::Done => ("done", KNOWN.to_string()),
            Next::Again(at) => ("again", at.to_string()),
            Next::Dead => ("dead", String::new()),
        };
        self.settle_as(function, taken, how, json(tried), number)
            .await
    }

    /// An invocation that was taken is not there any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn drop_taken(
        &self,
        function: &FunctionName,
        taken: &Taken,
    ) -> Result<(), StoreError> {
        let (nothing, none) = (String::new(), String::new());
        self.settle_as(function, taken, "gone", nothing, none).await
    }

    async fn settle_as(
        &self,
        function: &FunctionName,
        taken: &Taken,
        how: &str,
        tried: String,
        number: String,
    ) -> Result<(), StoreError> {
        let mut script = self.scripts.settle.prepare_invoke();
        script
            .key(self.keys.queue(function))
            .key(self.keys.later(function))
            .key(self.keys.queues())
            .key(self.keys.tried())
            .key(self.keys.dead_functions())
            .key(self.keys.dead(function))
            .key(self.keys.done(function, taken.id))
            .arg(&taken.place)
            .arg(function.as_str())
            .arg(taken.id.to_string())
            .arg(how)
            .arg(tried)
            .arg(number);
        self.invoke(&script).await
    }

    /// What came of an invocation: whether it has ended well, or else is not called again, or else will be.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn came_of(
        &self,
        function: &FunctionName,
        id: InvocationId,
    ) -> Result<Option<(Tried, State)>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(self.keys.done(function, id));
        let tried = self.keys.tried();
        let dead = self.keys.dead(function);
        pipeline.cmd("HGET").arg(&dead).arg(id.to_string());
        pipeline.cmd("HGET").arg(&tried).arg(name(function, id));
        let found: [Option<String>; 3] = self.pipeline(&pipeline).await?;
        let states = [State::Done, State::Dead, State::Retrying];
        let found = found.into_iter().zip(states);
        let found = found
            .filter_map(|(text, state)| Some((text?, state)))
            .next();
        let read = |(text, state): (String, State)| Ok((read(&tried, &text)?, state));
        found.map(read).transpose()
    }

    /// Notes of invocations of which it is known by the spool alone that they are not called again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn restore_dead(
        &self,
        function: &FunctionName,
        dead: &[(InvocationId, Tried)],
    ) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        let functions = self.keys.dead_functions();
        let pipeline = pipeline.cmd("SADD").arg(functions).arg(function.as_str());
        pipeline.cmd("HSET").arg(self.keys.dead(function));
        for (id, tried) in dead {
            pipeline.arg(id.to_string()).arg(json(tried));
        }
        let _: (u32, u32) = self.pipeline(pipeline).await?;
        Ok(())
    }
}

/// What an invocation is called among those of all functions.
pub(super) fn name(function: &FunctionName, id: InvocationId) -> String {
    format!("{function} {id}")
}
