//! Docker's event stream: containers that end, whoever ended them.

use std::collections::{HashMap, HashSet};

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt};

use corefn_core::function::FunctionName;
use corefn_core::instance::InstanceId;
use corefn_core::names::label;

use super::{Docker, DockerError};

/// An instance whose container has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Died {
    /// Which instance.
    pub id: InstanceId,
    /// Of which function.
    pub function: FunctionName,
    /// Whether somebody had Docker end it: this installation, or a person.
    pub ordered: bool,
}

/// The events, as Docker names them. `kill` is an order to send a signal; when the kernel or the
/// process itself ends it there is none.
const DIE: &str = "die";
const KILL: &str = "kill";

impl Docker {
    /// Instances of the namespace that end, as Docker tells. The stream ends when the connection
    /// does; what happened meanwhile must be looked up.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't be reached.
    pub async fn deaths(&self) -> Result<impl Stream<Item = Died> + '_, DockerError> {
        let ours = format!("{}={}", label::NAMESPACE, self.namespace());
        let options = EventsOptionsBuilder::default()
            .filters(&HashMap::from([
                ("type", vec!["container".to_owned()]),
                ("event", vec![DIE.to_owned(), KILL.to_owned()]),
                ("label", vec![ours]),
            ]))
            .build();
        let client = self.client().await?;
        let mut ordered = HashSet::new();
        Ok(client
            .events(Some(options))
            .take_while(|event| std::future::ready(event.is_ok()))
            .filter_map(move |event| {
                let died = event.ok().and_then(|event| died(&event, &mut ordered));
                std::future::ready(died)
            }))
    }
}

/// Reads an event; none if no instance has ended. `ordered` are those that somebody is ending.
fn died(event: &EventMessage, ordered: &mut HashSet<InstanceId>) -> Option<Died> {
    let labels = event.actor.as_ref()?.attributes.as_ref()?;
    let id = labels.get(label::INSTANCE)?.parse().ok()?;
    if event.action.as_deref() == Some(KILL) {
        ordered.insert(id);
        return None;
    }
    Some(Died {
        id,
        function: labels.get(label::FUNCTION)?.parse().ok()?,
        ordered: ordered.remove(&id),
    })
}
