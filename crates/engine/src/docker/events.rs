//! Docker's event stream: containers that end, are paused or run out of memory, whoever did it.

use std::collections::{HashMap, HashSet};

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt};

use corefn_core::function::FunctionName;
use corefn_core::instance::InstanceId;
use corefn_core::names::{self, label};

use super::{Docker, DockerError, sandboxes};

/// What has become of an instance, or of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceEvent {
    /// Which instance, or which it would be.
    pub id: InstanceId,
    /// Of which function. None of a sandbox that has no name of an instance: one that waits, or that became an instance just
    /// now, or holds the network of one.
    pub function: Option<FunctionName>,
    /// Docker's identifier of the container: its own, or that which holds its network.
    pub container: String,
    /// What has become of it.
    pub kind: InstanceEventKind,
}

/// The events, as Docker names them. `kill` is an order to send a signal; when the kernel or the
/// process itself ends it there is none.
const DIE: &str = "die";
const KILL: &str = "kill";
const PAUSE: &str = "pause";
/// The kernel has ended a process of it, for it had no more memory. If that was its first, `die` follows.
const OOM: &str = "oom";
const START: &str = "start";
/// A sandbox that has become an instance gets another name.
const RENAME: &str = "rename";

/// What has become of an instance. It can't be sent work any more, but where it has run out of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceEventKind {
    /// A process of it was ended, for it had no more memory.
    OutOfMemory,
    /// Its container was paused, and may go on.
    Paused,
    /// Somebody had Docker end it: this installation, or a person.
    Stopped,
    /// It ended without an order.
    Died,
}

impl Docker {
    /// Instances of the namespace that end, or lose what holds their network, or are paused, or run out of memory, as Docker tells. The stream ends when
    /// the connection does; what happened meanwhile must be looked up.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't be reached.
    pub async fn instance_events(
        &self,
    ) -> Result<impl Stream<Item = InstanceEvent> + '_, DockerError> {
        let mut ordered = HashSet::new();
        let events = self.container_events(&[DIE, KILL, PAUSE, OOM]).await?;
        Ok(events.filter_map(move |event| {
            let read = InstanceEvent::read(self.namespace(), event, &mut ordered);
            std::future::ready(read)
        }))
    }

    /// Says whenever there may be an instance more, as Docker tells. The stream ends when the connection does.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't be reached.
    pub async fn beginnings(&self) -> Result<impl Stream<Item = ()> + '_, DockerError> {
        let events = self.container_events(&[START, RENAME]).await?;
        Ok(events.map(|_| ()))
    }

    /// Events of the namespace's containers, until the connection ends.
    async fn container_events(
        &self,
        kinds: &[&str],
    ) -> Result<impl Stream<Item = EventMessage> + '_, DockerError> {
        let ours = format!("{}={}", label::NAMESPACE, self.namespace());
        let options = EventsOptionsBuilder::default()
            .filters(&HashMap::from([
                ("type", vec!["container".to_owned()]),
                ("event", kinds.iter().map(|&kind| kind.to_owned()).collect()),
                ("label", vec![ours]),
            ]))
            .build();
        let client = self.client().await?;
        Ok(client
            .events(Some(options))
            .take_while(|event| std::future::ready(event.is_ok()))
            .filter_map(|event| std::future::ready(event.ok())))
    }
}

impl InstanceEvent {
    /// Reads an event of Docker's; nothing if it is of none of the namespace's instances and sandboxes. `ordered` are those
    /// that somebody is ending.
    pub fn read(
        namespace: &str,
        event: EventMessage,
        ordered: &mut HashSet<InstanceId>,
    ) -> Option<Self> {
        let actor = event.actor?;
        let (container, mut labels) = (actor.id?, actor.attributes?);
        let name = labels.get("name").cloned().unwrap_or_default();
        let id = labels.get(label::INSTANCE)?.parse().ok()?;
        let held = names::in_holder(namespace, &name, id);
        let is_holder = held.is_some();
        let function = match held {
            Some(function) => Some(function),
            None => {
                sandboxes::describe(namespace, &name, &mut labels);
                match labels.get(label::FUNCTION) {
                    Some(function) => Some(FunctionName::read(function).ok()?),
                    None if labels.get(label::ROLE)? == label::ROLE_SANDBOX => None,
                    None => return None,
                }
            }
        };
        let kind = match event.action.as_deref() {
            Some(KILL) => {
                ordered.insert(id);
                return None;
            }
            // (A holder that is paused holds its network all the same.)
            Some(PAUSE) if is_holder => return None,
            Some(PAUSE) => InstanceEventKind::Paused,
            Some(OOM) => InstanceEventKind::OutOfMemory,
            // (That a holder ends is never the function's doing.)
            _ if ordered.remove(&id) || is_holder => InstanceEventKind::Stopped,
            _ => InstanceEventKind::Died,
        };
        Some(Self {
            id,
            function,
            container,
            kind,
        })
    }
}
