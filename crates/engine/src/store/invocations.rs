//! What people see of invocations that wait, and do with them.

use std::collections::{BTreeSet, HashMap, HashSet};

use corefn_core::function::FunctionName;
use corefn_core::invocation::{InvocationId, State, Tried};

use super::queues::name;
use super::{Store, StoreError, read};

/// How many invocations of a function there are, by their states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Those that have not been called, or are to be called again by now.
    pub waiting: u64,
    /// Those that are being called.
    pub calling: u64,
    /// Those that are to be called again.
    pub retrying: u64,
    /// Those that are not called again.
    pub dead: u64,
}

/// An invocation that is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which one.
    pub id: InvocationId,
    /// Where it is.
    pub state: State,
    /// What came of its calls, if there were any.
    pub tried: Option<Tried>,
}

/// What Redis knows of a function's invocations.
#[derive(Debug)]
pub struct KnownInvocations {
    /// Those in its queue, and those that are to be called again.
    pub queued: HashSet<InvocationId>,
    /// Those that are not called again.
    pub dead: HashSet<InvocationId>,
}

/// An invocation's place in a queue, and its fields: their names and values.
type Entry = (String, (String, String));

/// How much of a queue is looked at in one step.
const PAGE: usize = 1000;

/// Where a queue begins.
const FIRST: &str = "-";

impl Store {
    /// The functions that have invocations which have not ended well.
    ///
    /// # Errors
    /// [`StoreError`], as everything below.
    pub async fn invoked_functions(&self) -> Result<BTreeSet<FunctionName>, StoreError> {
        let mut command = redis::cmd("SUNION");
        command.arg(self.keys.queues());
        command.arg(self.keys.dead_functions());
        let names: Vec<String> = self.command(&command).await?;
        // (What is no name is not one of ours.)
        let names = names.iter().filter_map(|name| name.parse().ok());
        Ok(names.collect())
    }

    /// How many invocations of a function there are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn depth(&self, function: &FunctionName) -> Result<Depth, StoreError> {
        let mut script = self.scripts.depth.prepare_invoke();
        script
            .key(self.keys.queue(function))
            .key(self.keys.later(function))
            .key(self.keys.dead(function));
        let (waiting, calling, retrying, dead) = self.invoke(&script).await?;
        Ok(Depth {
            waiting,
            calling,
            retrying,
            dead,
        })
    }

    /// A function's invocations, the dead first, and those that wait last; of each state at most so many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn invocations(
        &self,
        function: &FunctionName,
        most: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        let key = self.keys.tried();
        let mut script = self.scripts.list_invocations.prepare_invoke();
        script
            .key(self.keys.queue(function))
            .key(self.keys.later(function))
            .key(&key)
            .key(self.keys.dead(function))
            .arg(function.as_str())
            .arg(most);
        let listed: Vec<(String, String, String)> = self.invoke(&script).await?;
        let listed = listed.into_iter().map(|(state, id, tried)| {
            let quoted = |text: &str| format!("{text:?}");
            Ok(Listed {
                id: read(&key, &quoted(&id))?,
                state: read(&key, &quoted(&state))?,
                tried: match tried.is_empty() {
                    true => None,
                    false => Some(read(&key, &tried)?),
                },
            })
        });
        listed.collect()
    }

    /// Has invocations called at once that are dead, which count as new then, or wait to be called again. Returns how many were.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn retry_invocations(
        &self,
        function: &FunctionName,
        invocations: &[InvocationId],
    ) -> Result<usize, StoreError> {
        let mut script = self.scripts.retry_invocations.prepare_invoke();
        script
            .key(self.keys.queues())
            .key(self.keys.queue(function))
            .key(self.keys.later(function))
            .key(self.keys.dead_functions())
            .key(self.keys.dead(function))
            .arg(function.as_str());
        for id in invocations {
            script.arg(id.to_string());
        }
        self.invoke(&script).await
    }

    /// Removes invocations, but for those that are being called or have ended. Returns those that it has removed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_invocations(
        &self,
        function: &FunctionName,
        invocations: &[InvocationId],
    ) -> Result<Vec<InvocationId>, StoreError> {
        let places = self.places(function, invocations).await?;
        let removed = self.keys.removed();
        let mut script = self.scripts.remove_invocations.prepare_invoke();
        script
            .key(self.keys.queues())
            .key(self.keys.queue(function))
            .key(self.keys.later(function))
            .key(self.keys.tried())
            .key(self.keys.dead_functions())
            .key(self.keys.dead(function))
            .key(&removed)
            .arg(function.as_str());
        for id in invocations {
            let id = id.to_string();
            let place = places.get(&id).map_or("", String::as_str);
            script.arg(&id).arg(place);
        }
        let ids: Vec<String> = self.invoke(&script).await?;
        ids.iter()
            .map(|id| read(&removed, &format!("{id:?}")))
            .collect()
    }

    /// Where in the queue invocations are, by their names, as far as they are there.
    async fn places(
        &self,
        function: &FunctionName,
        invocations: &[InvocationId],
    ) -> Result<HashMap<String, String>, StoreError> {
        let wanted: HashSet<String> = invocations.iter().map(ToString::to_string).collect();
        let mut found = HashMap::new();
        let mut from = FIRST.to_owned();
        while found.len() < wanted.len() {
            let page = self.page(function, &mut from).await?;
            if page.is_empty() {
                break;
            }
            let page = page.into_iter().map(|(place, (_, id))| (id, place));
            found.extend(page.filter(|(id, _)| wanted.contains(id)));
        }
        Ok(found)
    }

    /// The next part of a queue; nothing after its end.
    async fn page(
        &self,
        function: &FunctionName,
        from: &mut String,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut command = redis::cmd("XRANGE");
        command
            .arg(self.keys.queue(function))
            .arg(from.as_str())
            .arg("+");
        let page: Vec<Entry> = self.command(command.arg("COUNT").arg(PAGE)).await?;
        if let Some((last, _)) = page.last() {
            *from = format!("({last}");
        }
        Ok(page)
    }

    /// What Redis knows of a function's invocations, but for those that have ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn known_invocations(
        &self,
        function: &FunctionName,
    ) -> Result<KnownInvocations, StoreError> {
        // What people move meanwhile they move from here into the queue.
        let mut queued = self.scan("ZSCAN", &self.keys.later(function)).await?;
        let mut from = FIRST.to_owned();
        loop {
            let page = self.page(function, &mut from).await?;
            if page.is_empty() {
                break;
            }
            let ids = page
                .iter()
                .filter_map(|(_, (_, id))| id.parse::<InvocationId>().ok());
            queued.extend(ids);
        }
        let dead = self.scan("HSCAN", &self.keys.dead(function)).await?;
        Ok(KnownInvocations { queued, dead })
    }

    /// The invocations in a sorted set or a hash.
    async fn scan(&self, command: &str, key: &str) -> Result<HashSet<InvocationId>, StoreError> {
        let mut found = HashSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut command = redis::cmd(command);
            command.arg(key).arg(&cursor).arg("COUNT").arg(PAGE);
            let (next, pairs): (String, Vec<(String, String)>) = self.command(&command).await?;
            // (What is no name is not one of ours.)
            let ids = pairs
                .iter()
                .filter_map(|(id, _)| id.parse::<InvocationId>().ok());
            found.extend(ids);
            if next == "0" {
                return Ok(found);
            }
            cursor = next;
        }
    }

    /// Some of the invocations that somebody has removed, and whose files are to be removed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn removed_invocations(
        &self,
    ) -> Result<Vec<(FunctionName, InvocationId)>, StoreError> {
        let mut command = redis::cmd("SRANDMEMBER");
        command.arg(self.keys.removed()).arg(PAGE);
        let names: Vec<String> = self.command(&command).await?;
        let read = |text: &String| {
            let (function, id) = text.split_once(' ')?;
            Some((function.parse().ok()?, id.parse().ok()?))
        };
        Ok(names.iter().filter_map(read).collect())
    }

    /// The files of invocations that were removed are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_removed(
        &self,
        removed: &[(FunctionName, InvocationId)],
    ) -> Result<(), StoreError> {
        let mut command = redis::cmd("SREM");
        command.arg(self.keys.removed());
        for (function, id) in removed {
            command.arg(name(function, *id));
        }
        self.command(&command).await
    }
}
